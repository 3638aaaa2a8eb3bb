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

// originsEnough is how many connections, all from the gateway, make the case.
const originsEnough = 20

// origins notices when every client comes from a container gateway's address: the engine's port forwarding then hides who
// they are, and a network that holds the gateway holds everybody who reaches the published port.
type origins struct {
	gateway atomic.Int64 // connections from it
	other   atomic.Bool  // somebody came from elsewhere
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
		o.Log.Warn("every client so far comes from the container gateway's address: networks cannot tell them apart, and "+
			"whoever reaches the published port is taken for it; publish the port on 127.0.0.1 only, or use AUTH or the PROXY protocol",
			"gateway", addr.String())
	}
}

// ContainerGateway is the default gateway's IPv4 address, when this process runs in a container; otherwise the zero Addr.
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

// defaultGateway finds the gateway of the default route in Linux's table of IPv4 routes (proc(5)): addresses are hexadecimal in
// the machine's byte order.
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
