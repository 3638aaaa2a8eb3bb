package smtpd

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
)

// originsEnough is how many connections, all from the gateway, lead to a warning.
const originsEnough = 20

// origins notices when every client comes from the address of a container gateway. The engine's port
// forwarding then hides the clients, and a network that contains the gateway contains everybody who reaches
// the published port.
type origins struct {
	gateway atomic.Int64 // connections from it
	other   atomic.Bool  // there was a connection from elsewhere
}

// note counts a connection, and warns once.
func (g *origins) note(o *Options, addr netip.Addr) {
	if !o.Gateway.IsValid() || !addr.IsValid() || addr.IsLoopback() {
		return
	}
	if addr != o.Gateway {
		g.other.Store(true)
		return
	}
	if g.gateway.Add(1) == originsEnough && !g.other.Load() {
		o.Log.Warn("every client so far has the address of the container gateway, so networks cannot tell "+
			"clients apart and whoever reaches the published port counts as the gateway; "+
			"publish the port on 127.0.0.1 only, or use AUTH or the PROXY protocol",
			"gateway", addr.String())
	}
}

// ContainerGateway is the IPv4 address of the default gateway if this process runs in a container, else the
// zero Addr.
func ContainerGateway() netip.Addr {
	if _, err := os.Stat("/.dockerenv"); err != nil {
		if _, err := os.Stat("/run/.containerenv"); err != nil {
			return netip.Addr{}
		}
	}
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}
	}
	defer f.Close()
	return defaultGateway(f)
}

// defaultGateway finds the gateway of the default route in Linux's table of IPv4 routes (proc(5)). Its
// addresses are hexadecimal, in the machine's byte order.
func defaultGateway(r io.Reader) netip.Addr {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 || fields[1] != "00000000" || fields[7] != "00000000" {
			continue
		}
		raw, err := hex.DecodeString(fields[2])
		if err != nil || len(raw) != 4 {
			continue
		}
		var ip [4]byte
		binary.NativeEndian.PutUint32(ip[:], binary.BigEndian.Uint32(raw))
		return netip.AddrFrom4(ip)
	}
	return netip.Addr{}
}
