package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// crowd is a number of clients that guess one user's password without end.
type crowd struct {
	where string
	from  func(i int) string // address of guesser i
	name  string
}

// crowds are the two kinds: each guesser with an address of its own, and all of them with that of the honest
// client.
var crowds = []crowd{
	{
		"from addresses of their own",
		func(i int) string { return fmt.Sprintf("127.0.%d.%d", 1+i/250, 1+i%250) },
		"far",
	},
	{"from the honest client's address", func(int) string { return honestAddr }, "near"},
}

// honestAddr is the honest client's address.
const honestAddr = "127.0.0.1"

// login is the name and password of the i-th honest login beside the crowd.
func (c *crowd) login(i int) string { return fmt.Sprintf("%s-%d", c.name, i) }

// loginResult is what came of a crowd.
type loginResult struct {
	crowd   crowd
	alone   time.Duration // of an honest login before the crowd is there
	worst   time.Duration // of the honest logins beside it
	guesses int64
}

// crowds lets each crowd guess while honest clients log in for the first time.
func (a *attack) crowds() (results []loginResult) {
	for _, c := range crowds {
		results = append(results, a.crowdOf(c))
	}
	return results
}

func (a *attack) crowdOf(c crowd) loginResult {
	alone, err := a.logIn(c.login(a.size.logins))
	if err != nil {
		a.complain("before the guessers %s: %v", c.where, err)
	}
	var guesses atomic.Int64
	var guessers sync.WaitGroup
	stop := make(chan struct{})
	for i := range a.size.crowd {
		guessers.Go(func() { a.guessUntil(stop, c.from(i), &guesses) })
	}
	result := loginResult{crowd: c, alone: alone}
	time.Sleep(2 * time.Second) // until all of them are at it
	for i := range a.size.logins {
		took, err := a.logIn(c.login(i))
		if err != nil {
			a.complain("beside guessers %s: %v", c.where, err)
		}
		result.worst = max(result.worst, took)
	}
	close(stop)
	guessers.Wait()
	result.guesses = guesses.Load()
	return result
}

// guessUntil guesses on one connection after the other.
func (a *attack) guessUntil(stop <-chan struct{}, from string, guesses *atomic.Int64) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		c := secure(from, a.relay.tls, a.relay.trust)
		if c == nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		c.send("EHLO x")
		c.until("250")
		for got := "535"; strings.HasPrefix(got, "535") || strings.HasPrefix(got, "454"); {
			c.send("AUTH PLAIN AGFwcABndWVzcw==")
			if got = c.reply(); got != "" {
				guesses.Add(1)
			}
			select {
			case <-stop:
				got = ""
			default:
			}
		}
		c.Close()
	}
}

// logIn logs in, and returns how long the reply to AUTH took.
func (a *attack) logIn(name string) (time.Duration, error) {
	c := secure(honestAddr, a.relay.tls, a.relay.trust)
	if c == nil {
		return 0, fmt.Errorf("%s was not let in", name)
	}
	defer c.Close()
	c.send("EHLO x")
	if !c.until("250 ") {
		return 0, fmt.Errorf("%s: no answer to EHLO", name)
	}
	began := time.Now()
	c.send("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+name+"\x00"+name)))
	if reply := c.reply(); !strings.HasPrefix(reply, "235") {
		return time.Since(began), fmt.Errorf("%s: answered %q", name, reply)
	}
	return time.Since(began), nil
}
