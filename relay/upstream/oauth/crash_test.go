package oauth

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"mailwhy/relay/smtptest/oauthtest"
	"mailwhy/relay/smtptest/postgrestest"
)

// crashFile names the token file of the process that is going to be killed.
const crashFile = "MAILWHY_TEST_TOKEN_FILE"

// TestMain is also the process that is killed: it refreshes once, says so and waits for its end.
func TestMain(m *testing.M) {
	file := os.Getenv(crashFile)
	if file == "" {
		os.Exit(postgrestest.Run(m))
	}
	fmt.Println("begin")
	for {
		r := &Refresh{Store: File{Path: file}}
		if _, err := r.Fetch(context.Background()); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("fetched")
	}
}

// child refreshes again and again until it is killed.
func child(t *testing.T, f File) (kill func(), lines *bufio.Scanner) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), crashFile+"="+f.Path)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var done bool
	kill = func() {
		if !done {
			done = true
			c.Process.Kill()
			c.Wait()
		}
	}
	t.Cleanup(kill)
	return kill, bufio.NewScanner(out)
}

// TestCrashAfterRotation: the process is killed after the new token was written and before the access token
// was used. The endpoint takes each refresh token once, so the next process works only if the file holds the
// newest.
func TestCrashAfterRotation(t *testing.T) {
	arrived := make(chan struct{}, 1)
	hold := make(chan struct{})
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID, Rotate: true, Once: true,
		Script: func(r oauthtest.Request) *oauthtest.Answer {
			if r.N == 2 { // the first rotation is on disk, and this request never reaches the server
				arrived <- struct{}{}
				<-hold
				return &oauthtest.Answer{Close: true}
			}
			return nil
		}})
	f := store(t, s.URL("/token"), s.Refresh())
	kill, _ := child(t, f)
	<-arrived
	kill()
	close(hold)
	fetched(t, s, &Refresh{Store: f})
}

// TestCrashAnywhere: the process is killed at any moment of a stream of refreshes, where the endpoint, as
// Microsoft's, lets replaced tokens live. The file is whole and its token works.
func TestCrashAnywhere(t *testing.T) {
	s := oauthtest.Start(t, oauthtest.Options{ClientID: clientID, Rotate: true})
	f := store(t, s.URL("/token"), s.Refresh())
	for round := range 12 {
		kill, lines := child(t, f)
		for n := 0; n <= round%4 && lines.Scan(); n++ { // the moment differs by the speed of both processes
			if strings.HasPrefix(lines.Text(), "error") {
				t.Fatal(lines.Text())
			}
		}
		kill()
		fetched(t, s, &Refresh{Store: f})
	}
}
