package admin

import (
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/admin/access"
)

// Version is where all paths of the API begin.
const Version = "/v1"

// pages are the parameters of lists that come in pages.
func pages() []param {
	return []param{{name: "limit", about: "Most entries of the page, 1 to 1000; 100 without."},
		{name: "after", about: "The field next of the page before."}}
}

// filters are the parameters that select messages.
func filters() []param {
	return []param{
		{name: "id", about: "Queue id of a message or of a mail.", many: true},
		{name: "sender", about: "Envelope sender, @domain, or <> for the null sender."},
		{name: "recipient", about: "Address of any recipient, or @domain."},
		{name: "category", about: "Category of any recipient's diagnosis, such as Mailbox Full."},
		{name: "state", about: "State of any recipient: queued, deferred, held, relayed, failed, expired " +
			"or suppressed."},
		{name: "upstream", about: "Name of the upstream that the message waits for."},
		{name: "older_than", about: "Only messages that arrived before this time (RFC 3339)."},
	}
}

// listed are the parameters that select entries of the suppression list.
func listed() []param {
	return []param{{name: "address", about: "The address, in any form that stands for the same mailbox."},
		{name: "scope", about: "* or a sender domain."},
		{name: "reason", about: "Reason of the entry, such as user_unknown."},
		{name: "state", about: "State of the entry: noted, suppressed or trial."}}
}

// came are the parameters that select reports of feedback.
func came() []param {
	return []param{{name: "state", about: "waiting, unmatched, unreadable or unproven."},
		{name: "source", about: "Name of the webhook or mailbox."},
		{name: "since", about: "Only what came at this time (RFC 3339) or later."}}
}

// erased are the parameters that say what to erase.
func erased() []param {
	return []param{{name: "address", about: "The address."},
		{name: "act", about: "true: remove it; otherwise it is counted."}}
}

// routes is the whole API: each path, and the scope that a token needs for it.
func (s *Server) routes() []route {
	var all []route
	for _, part := range [][]route{s.relayRoutes(), s.queueRoutes(), s.suppressionRoutes(),
		s.feedbackRoutes(), s.webhookRoutes()} {
		all = append(all, part...)
	}
	for i := range all {
		method, path, _ := strings.Cut(all[i].pattern, " ")
		all[i].pattern = method + " " + Version + path
	}
	return all
}

// relayRoutes are about the relay as a whole.
func (s *Server) relayRoutes() []route {
	return []route{
		{pattern: "GET /openapi.json", about: "This document.", gives: map[string]any{}, stream: s.openAPI},
		{pattern: "GET /health", scope: access.Read, gives: Health{}, answer: s.health,
			about: "Whether the relay is healthy: status 200, or 503 and the reasons."},
		{pattern: "GET /config", scope: access.Read, gives: Settings{}, answer: s.settings,
			about: "The settings in force, without secrets, and where each comes from."},
		{pattern: "GET /upstreams", scope: access.Read, gives: Upstreams{}, answer: s.upstreams,
			about: "The state of each upstream."},
		{pattern: "GET /upstreams/{name}", scope: access.Read, gives: relay.LaneState{}, answer: s.upstream,
			about: "The state of one upstream."},
		{pattern: "POST /upstreams/{name}/probe", scope: access.Write, gives: relay.LaneState{},
			answer: s.probe, about: "Try a paused upstream now, and send what is due."},
		{pattern: "POST /diagnose", scope: access.Diagnose, takes: Refusal{}, gives: Explained{},
			answer: s.diagnose, about: "Explain a refusal, or each of a list of at most 1000."},
		{pattern: "POST /policies/test", scope: access.Diagnose, takes: PolicyQuery{}, gives: PolicyAnswer{},
			answer: s.testPolicy, about: "Say which policy applies to a refusal, and what is done."},
		{pattern: "GET /events", scope: access.Events, gives: "", stream: s.events,
			about: "Events as they happen (server-sent events), as in the delivery log.",
			query: []param{
				{name: "event", about: "Only events of this kind, such as failed.", many: true},
				{name: "category", about: "Only events with a diagnosis of this category.", many: true},
				{name: "upstream", about: "Only events of this upstream."},
				{name: "client", about: "Only events about mail of this client."},
			}},
		{pattern: "POST /events/erase", scope: access.Write, gives: ErasedEvents{}, answer: s.eraseEvents,
			long: true, about: "Remove the events of an address from the page's history, or count them.",
			query: erased()},
	}
}

// queueRoutes are about messages that wait.
func (s *Server) queueRoutes() []route {
	list := []route{
		{pattern: "GET /queue", scope: access.Read, query: append(filters(), pages()...), gives: QueuePage{},
			answer: s.list, about: "The messages of the queue, in the order of their ids."},
		{pattern: "GET /queue/summary", scope: access.Read, query: filters(), gives: QueueSummary{},
			answer: s.summary, long: true, about: "Count what waits, by state, upstream and category."},
		{pattern: "GET /messages/{id}", scope: access.Read, gives: Shown{}, answer: s.show,
			about: "All that is known of a message in the queue; contents are never shown."},
		{pattern: "GET /messages/{id}/history", scope: access.Read, gives: History{}, answer: s.remembered,
			about: "What is known of a message that has left the queue."},
	}
	for _, a := range Actions() {
		list = append(list,
			route{pattern: "POST /queue/" + string(a), scope: access.Write, takes: Selection{},
				gives: Outcomes{}, answer: s.actAll(a), long: true,
				about: a.about() + ": a page of the selected messages."},
			route{pattern: "POST /messages/{id}/" + string(a), scope: access.Write, gives: Outcome{},
				answer: s.actOne(a), about: a.about() + ": one message."})
	}
	return list
}

// suppressionRoutes are about the list of addresses that get no mail.
func (s *Server) suppressionRoutes() []route {
	return []route{
		{pattern: "GET /suppressions", scope: access.Read, query: append(listed(), pages()...),
			gives: SuppressionPage{}, answer: s.suppressions, about: "The entries of the suppression list."},
		{pattern: "GET /suppressions/state", scope: access.Read, gives: SuppressionState{},
			answer: s.suppressionState, about: "The state of the list."},
		{pattern: "GET /suppressions/export", scope: access.Read, gives: "", stream: s.export, long: true,
			about: "The suppressed addresses as CSV, with Mailgun's columns and more."},
		{pattern: "GET /suppressions/{address}", scope: access.Read, gives: SuppressionPage{},
			answer: s.suppressed, about: "The entries of an address, one for each scope."},
		{pattern: "POST /suppressions", scope: access.Write, takes: SuppressionEntries{},
			gives: SuppressionResults{}, answer: s.suppress, large: true,
			about: "Add entries, at most 10,000, in one transaction."},
		{pattern: "POST /suppressions/import", scope: access.Write, takes: "", gives: Imported{},
			answer: s.imports, large: true, about: "Add the entries of another system's list.",
			query: []param{{name: "all", about: "true: also entries whose reply is not about the address."},
				{name: "reason", about: "Reason of the entries."},
				{name: "scope", about: "Scope of the entries."},
				{name: "expires", about: "When entries end that do not say so (RFC 3339)."}}},
		{pattern: "DELETE /suppressions/{address}", scope: access.Write, gives: Removed{},
			answer: s.unsuppress, about: "Remove an address. Mail to it is tried again at once.",
			query: []param{{name: "scope", about: "Only the entry of this scope."}}},
	}
}

// feedbackRoutes are about what comes back after the 250.
func (s *Server) feedbackRoutes() []route {
	webhook := param{name: "webhook", about: "Name of the [[feedback.webhook]]."}
	return []route{
		{pattern: "GET /feedback", scope: access.Read, query: append(came(), pages()...), gives: ReportPage{},
			answer: s.reports, about: "Reports that wait, and those that could not be used."},
		{pattern: "GET /feedback/{id}", scope: access.Read, gives: Report{}, answer: s.report,
			about: "One report, with all details."},
		{pattern: "POST /feedback/replay", scope: access.Write,
			query: append([]param{{name: "id", about: "Number of the report."}}, came()...), gives: Count{},
			answer: s.replay, about: "Process reports again."},
		{pattern: "POST /feedback/erase", scope: access.Write, gives: Erased{}, answer: s.erase,
			about: "Remove what is remembered about an address, or count it.",
			query: erased()},
		{pattern: "POST /feedback/take", scope: access.Write, query: []param{webhook}, takes: "",
			gives: Count{}, answer: s.take, large: true,
			about: "Take the body as an authenticated request to a webhook."},
		{pattern: "POST /feedback/mail", scope: access.Write, takes: "", gives: Mailed{}, answer: s.takeMail,
			large: true, about: "Take the body as bounce mail."},
		{pattern: "POST /feedback/send", scope: access.Write, gives: Sent{}, answer: s.send,
			about: "Send a test message through an upstream of a webhook.",
			query: []param{webhook, {name: "from", about: "Sender."}, {name: "to", about: "Recipient."}}},
	}
}

// webhookRoutes are about the operator's applications to which events are sent.
func (s *Server) webhookRoutes() []route {
	return []route{
		{pattern: "GET /webhooks", scope: access.Read, gives: WebhookStates{}, answer: s.webhooks,
			about: "The state of each webhook."},
		{pattern: "GET /webhooks/{name}", scope: access.Read, gives: relay.WebhookState{}, answer: s.webhook,
			about: "The state of one webhook."},
		{pattern: "POST /webhooks/{name}/test", scope: access.Write, gives: relay.WebhookTest{},
			answer: s.testWebhook, about: "Send a test event and wait for the answer."},
		{pattern: "POST /webhooks/{name}/replay", scope: access.Write, gives: Replayed{},
			answer: s.replayWebhook, about: "Send events again.",
			query: []param{{name: "since", about: "From this time on (RFC 3339)."}}},
		{pattern: "POST /webhooks/{name}/enable", scope: access.Write, gives: relay.WebhookState{},
			answer: s.enableWebhook, about: "Enable a webhook that is disabled or waits."},
	}
}
