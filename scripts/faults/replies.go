package main

import (
	"context"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/process"
)

// oddity is a reply that no upstream should give, and some do.
type oddity struct {
	name  string
	bytes func(code string) string // code is the one that would be right at the stage
	end   smtptest.End
}

// oddities are what the relay must take apart, or take for silence.
func oddities() []oddity {
	return []oddity{
		{"the code alone", func(code string) string { return code + "\r\n" }, ""},
		{
			"another code of the class",
			func(code string) string { return code[:1] + "99 as you like\r\n" },
			"",
		},
		{
			"a line of 2500 bytes",
			func(code string) string { return code + " " + strings.Repeat("x", 2500) + "\r\n" },
			"",
		},
		{"10,000 lines", func(code string) string {
			return strings.Repeat(code+"-more\r\n", 10000) + code + " done\r\n"
		}, ""},
		{"bytes that are not UTF-8", func(code string) string { return code + " \xff\xfe\x00\xe9\r\n" }, ""},
		{"lines ended by LF", func(code string) string { return code + "-a\n" + code + " b\n" }, ""},
		{
			"4xx of 2500 bytes",
			func(string) string { return "451 4.3.0 " + strings.Repeat("y", 2500) + "\r\n" },
			"",
		},
		{"no reply at all", func(string) string { return "what?\r\n" }, smtptest.EndClose},
		{"an empty line", func(string) string { return "\r\n" }, smtptest.EndClose},
		{"half a code", func(code string) string { return code[:2] }, smtptest.EndReset},
		{"421 and the end", func(string) string { return "421 4.3.2 going down\r\n" }, smtptest.EndClose},
		{
			"endless bytes without a line end",
			func(string) string { return strings.Repeat("z", 1<<20) },
			smtptest.EndClose,
		},
	}
}

// testReplies gives each odd reply at each stage, once; then the upstream is as it should be.
func testReplies(ctx context.Context, s *site, r *result) {
	stages := map[diagnose.Stage]string{
		diagnose.StageGreeting: "220", diagnose.StageHello: "250", diagnose.StageMail: "250",
		diagnose.StageRcpt: "250", diagnose.StageData: "354", diagnose.StageEndOfData: "250",
	}
	order := []diagnose.Stage{
		diagnose.StageGreeting, diagnose.StageHello, diagnose.StageMail, diagnose.StageRcpt,
		diagnose.StageData, diagnose.StageEndOfData,
	}
	odd := oddities()
	var outcomes counter
	parallel(4, len(order)*len(odd), func(i int) {
		if ctx.Err() != nil || !s.full && i%4 != 0 {
			return
		}
		stage, o := order[i%len(order)], odd[i/len(order)]
		t := newScenario(s, r, "")
		t.client.Drops = false
		t.through(t.sink.Addr())
		said := o.bytes(stages[stage])
		t.sink.Script = func(c smtptest.Command) smtptest.Action {
			if c.Stage != stage || c.Session != 1 || c.Message > 1 {
				return smtptest.Action{}
			}
			return smtptest.Action{Bytes: []byte(said), End: o.end}
		}
		t.start(ctx)
		must(t.client.Offer(ctx, t.client.NewMessage()), "offering a message")
		v := t.end(ctx, 15*time.Second)
		if v.Arrived == 0 {
			r.fail("%s at %s: it did not arrive: %s", o.name, stage, process.Tail(t.setup.deliveryLog()))
		}
		outcomes.add("relayed", v.Arrived)
		outcomes.add("duplicates", v.Duplicates)
		r.ran(1)
	})
	r.note("%d odd replies at %d stages: %s", len(odd), len(order), &outcomes)
}
