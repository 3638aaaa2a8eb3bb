package admin

import (
	"errors"
	"fmt"
	"net"

	"mailwhy/relay/internal/socket"
)

// Listen opens the control socket at path, mode 0600 from its first moment. A socket that a killed relay
// left behind is replaced; one that answers is another relay's.
func Listen(path string) (net.Listener, error) {
	l, err := socket.Listen(path, 0o600)
	switch {
	case errors.Is(err, socket.ErrInUse):
		return nil, fmt.Errorf("control socket %s: another relay answers there", path)
	case err != nil:
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	return l, nil
}
