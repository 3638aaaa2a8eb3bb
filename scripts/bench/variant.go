package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mailwhy/relay/sign"
	"mailwhy/relay/smtptest"
)

// variant is mailwhy with more switched on than by default.
type variant struct {
	name   string
	about  string
	conf   func(*setting) (string, error)    // nil: as it is by default
	beside func(*setting) (*provider, error) // runs beside the relay; nil when nothing does
}

// setting is where a variant runs.
type setting struct {
	dir  string
	log  string // the delivery log
	hook string // host:port of the webhooks
}

// variants are all there are.
func variants() []variant {
	return []variant{
		{name: "try", about: "offers mail while the application waits", conf: trying},
		{name: "dkim", about: "signs with RSA, 2048 bits", conf: signing("rsa")},
		{name: "ed25519", about: "signs with Ed25519", conf: signing("ed25519")},
		{name: "feedback", about: "remembers what was relayed", conf: hearing},
		{
			name: "events", about: "and is told of it 2,000 times a second", conf: hearing,
			beside: telling,
		},
		{
			name: "control", about: "plain, while the same events go to a server that only answers 200",
			beside: tellingNobody,
		},
		{
			name: "webhook", about: "sends all events to a webhook, 100 in a request", conf: sending,
			beside: taking,
		},
	}
}

// variantByName is a variant.
func variantByName(name string) (variant, error) {
	for _, v := range variants() {
		if v.name == name {
			return v, nil
		}
	}
	return variant{}, fmt.Errorf("not a variant of mailwhy: %q; there are %s", name, variantNames())
}

// variantNames are the names of all variants.
func variantNames() string {
	var names []string
	for _, v := range variants() {
		names = append(names, v.name+" ("+v.about+")")
	}
	return strings.Join(names, ", ")
}

// trying is the configuration of verdicts in the session.
func trying(*setting) (string, error) { return "[accept]\nmode = \"try\"\n", nil }

// signing is the configuration that signs the load's mail with a key of a type.
func signing(kind string) func(*setting) (string, error) {
	return func(s *setting) (string, error) {
		_, file, err := sign.Generate(kind)
		if err != nil {
			return "", err
		}
		name := filepath.Join(s.dir, "key.pem")
		return fmt.Sprintf("[[dkim]]\ndomain = \"load.test\"\nselector = \"s\"\nkey_file = %q\n", name),
			os.WriteFile(name, file, 0o600)
	}
}

// sending is the configuration that sends all events to an application.
func sending(s *setting) (conf string, err error) {
	s.hook, err = smtptest.FreeAddr()
	return fmt.Sprintf("[[webhook]]\nname = \"bench\"\nurl = \"http://%s/\"\nbatch = 100\n"+
		"events = [\"all\"]\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n", s.hook), err
}

// hearing is the configuration that takes events in.
func hearing(s *setting) (conf string, err error) {
	s.hook, err = smtptest.FreeAddr()
	return fmt.Sprintf("[feedback]\nlisten = %q\n[[feedback.webhook]]\nprovider = \"sparkpost\"\n"+
		"credential = [\"bench:a-long-enough-secret\"]\n", s.hook), err
}
