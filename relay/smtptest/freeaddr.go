package smtptest

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreeAddr is an address on loopback where nothing listens, for a server that is started, or started again,
// later. Its port lies below those that the kernel gives to outgoing connections
// (net.ipv4.ip_local_port_range, from 32768 on by default), so that none of these takes it meanwhile.
func FreeAddr() (string, error) {
	var err error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12000+rand.IntN(20000)))
		var ln net.Listener
		if ln, err = net.Listen("tcp", addr); err == nil {
			return addr, ln.Close()
		}
	}
	return "", errors.Join(errors.New("no free port was found"), err)
}
