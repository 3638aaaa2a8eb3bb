package sendmailcmd

import (
	"errors"
	"fmt"
	"strings"
)

// mode is what the command is called for.
type mode byte

const (
	deliver mode = 'm' // read a message and hand it over
	session mode = 's' // speak SMTP
	queue   mode = 'p' // print the queue
	flush   mode = 'q' // try what waits now
	aliases mode = 'i' // rebuild aliases, of which there are none
	help    mode = 'h'
)

// call is what the arguments ask for.
type call struct {
	mode       mode
	from       string
	fromSet    bool
	name       string // of the author
	fromHeader bool   // -t
	ignoreDots bool   // -i
	notify     string
	ret        string
	envID      string
	verbose    bool
	relay      string // --relay
	config     string // -C
	to         []string
}

// The letters of sendmail, Postfix and Exim that take a value, attached or as the next argument. Those of
// which only an attached one is a value, as in -q30m, are attachedOnly. All others have none.
const (
	withValue    = "ABCDFLMNOPRVXbefhopr"
	attachedOnly = "dqQ"
)

// parse reads the arguments as getopt does: letters may stand together, -- ends them, and so does the first
// one that is no flag. What is not known changes nothing and is ignored: programs pass what their sendmail
// once had, and each flag that is an error is mail that is lost.
func parse(args []string) (*call, error) {
	c := &call{mode: deliver}
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			args = args[1:]
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		args = args[1:]
		var err error
		if strings.HasPrefix(arg, "--") {
			args = c.long(arg[2:], args)
		} else if args, err = c.cluster(arg[1:], args); err != nil {
			return nil, err
		}
	}
	c.to = args
	for _, to := range c.to {
		if strings.HasPrefix(to, "-") {
			return nil, fmt.Errorf("%q stands behind the recipients: flags go before them", to)
		}
	}
	return c, nil
}

// long takes a flag of ours, with its value behind "=" or as the next argument, and returns the arguments
// that are left.
func (c *call) long(flag string, rest []string) []string {
	name, value, attached := strings.Cut(flag, "=")
	switch name {
	case "help":
		c.mode = help
	case "relay":
		if !attached && len(rest) > 0 {
			value, rest = rest[0], rest[1:]
		}
		c.relay = value
	}
	return rest
}

// cluster takes the letters of one argument, and returns the arguments that are left.
func (c *call) cluster(letters string, rest []string) ([]string, error) {
	for i := range len(letters) {
		letter, value := letters[i], letters[i+1:]
		switch {
		case strings.IndexByte(attachedOnly, letter) >= 0:
			return rest, c.set(letter, value)
		case strings.IndexByte(withValue, letter) < 0:
			if err := c.set(letter, ""); err != nil {
				return rest, err
			}
			continue
		case value == "" && len(rest) == 0:
			return rest, fmt.Errorf("-%c needs a value", letter)
		case value == "":
			value, rest = rest[0], rest[1:]
		}
		if letter == 'o' && macro(value) && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") &&
			!strings.Contains(rest[0], "@") {
			rest = rest[1:]
		}
		return rest, c.set(letter, value)
	}
	return rest, nil
}

// macro reports whether an option of -o is one of Exim's whose value is the next argument, as in
// "-oMr local"; sendmail's is attached, as in -oMrlocal.
func macro(option string) bool {
	return strings.HasPrefix(option, "M") && (len(option) == 2 || len(option) == 3 && option[1] == 'a')
}

// set takes one flag.
func (c *call) set(letter byte, value string) error {
	switch letter {
	case 'b':
		return c.setMode(value)
	case 'C':
		c.config = value
	case 'F':
		c.name = value
	case 'f', 'r':
		c.from, c.fromSet = value, true
	case 'i':
		c.ignoreDots = true
	case 'o':
		c.ignoreDots = c.ignoreDots || value == "i"
	case 'N':
		c.notify = strings.ToUpper(value)
	case 'R':
		c.ret = map[string]string{"full": "FULL", "hdrs": "HDRS"}[strings.ToLower(value)]
	case 'V':
		c.envID = value
	case 'q':
		if c.mode == deliver {
			c.mode = flush
		}
	case 't':
		c.fromHeader = true
	case 'v':
		c.verbose = true
	}
	return nil
}

// setMode takes the value of -b.
func (c *call) setMode(value string) error {
	switch value {
	case "m":
		c.mode = deliver
	case "s", "S":
		c.mode = session
	case "p":
		c.mode = queue
	case "i":
		c.mode = aliases
	case "d", "D":
		return errors.New("-bd: a daemon is started by mailwhy serve")
	default:
		return fmt.Errorf("-b%s is not supported; -bm, -bs, -bp and -bi are", value)
	}
	return nil
}
