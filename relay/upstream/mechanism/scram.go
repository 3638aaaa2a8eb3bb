package mechanism

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// NewSCRAMSHA256 is SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding.
func NewSCRAMSHA256(username, password string) (sasl.Client, error) {
	return newSCRAM(username, password, nil)
}

// newSCRAM uses nonce in place of a random one, if it is not nil.
func newSCRAM(username, password string, nonce func() string) (*scramClient, error) {
	client, err := scram.SHA256.NewClient(username, password, "")
	if err != nil { // its text may quote a part of what it was given
		return nil, errors.New("SCRAM-SHA-256: the user name or password has characters that SASLprep " +
			"forbids")
	}
	if nonce != nil {
		client = client.WithNonceGenerator(nonce)
	}
	return &scramClient{conversation: client.NewConversation(), password: password}, nil
}

// maxIterations bounds the work that a server can ask for: a quarter of a second or so.
const maxIterations = 1_000_000

type scramClient struct {
	conversation *scram.ClientConversation
	password     string
	step         int
}

// Start implements sasl.Client.
func (s *scramClient) Start() (string, []byte, error) {
	first, err := s.conversation.Step("")
	return SCRAMSHA256, []byte(first), err
}

// Next implements sasl.Client.
func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	s.step++
	if s.step > 2 {
		return nil, errors.New("SCRAM-SHA-256: the server asks a third time")
	}
	for field := range strings.SplitSeq(string(challenge), ",") {
		if n, is := strings.CutPrefix(field, "i="); is && s.step == 1 {
			if i, err := strconv.Atoi(n); err != nil || i > maxIterations {
				return nil, fmt.Errorf("SCRAM-SHA-256: the server asks for more than %d iterations",
					maxIterations)
			}
		}
	}
	answer, err := s.conversation.Step(string(challenge))
	if err != nil {
		return nil, fmt.Errorf("SCRAM-SHA-256: %w", err)
	}
	return []byte(answer), nil
}

// Proved implements Prover: the server knows the password too.
func (s *scramClient) Proved() error {
	if !s.conversation.Valid() {
		return errors.New("SCRAM-SHA-256: the server did not prove that it knows the password")
	}
	return nil
}

// Secrets implements Secretive.
func (s *scramClient) Secrets() []string { return []string{s.password} }
