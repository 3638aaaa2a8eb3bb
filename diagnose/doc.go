// Package diagnose says what an SMTP refusal means and what to do about it.
//
// It is a pure function from a Symptom (what was said, where, about which message) to a Diagnosis (category,
// reason, cause, fix, who must act). The relay calls it for each refused attempt, the DSN and the delivery
// log carry its answer, and `mailwhy diagnose` and `mailwhy guide` print it. It does no I/O, keeps no state
// between calls and is safe for concurrent use; the same Symptom always gets the same Diagnosis.
//
// What it knows is data, not code: guide.toml (categories, reasons, providers, blocklists, and the tables of
// codes) and rules.toml (wordings). A user's own rules, in the same form, add to them or override them by id.
//
// How an answer is found:
//
//  1. ParseReply takes the reply apart (RFC 5321, 4.2; RFC 2034; RFC 3463) and keeps its bytes.
//  2. The wording becomes a row of words: lower case, accents folded, one wrong letter in a key word
//     corrected where the result is not a word of its own. What the reply names (addresses, hosts,
//     numbers, paths, references, header fields, checks that passed) is separated from what it says.
//  3. One pass finds the phrases of all rules at once, in a trie of words, so that the time hardly depends
//     on the number of rules and is linear in the text. Beside a wording that names a cause, boilerplate
//     does not count.
//  4. Every rule that holds is a signal with a weight. Signals of one category support each other; the
//     (code, enhanced code) pair of the guide's table, the enhanced code and the basic code count last and
//     little, and decide only when the wording says nothing. They never make an address be given up.
//  5. The reason that won decides scope, owner and fix; stage, provider and facts of the message make them
//     specific.
//
// What always holds: Diagnose answers every Symptom; every 4yz, 5yz and 221 has a category of the guide; a
// failure that came without a reply is a Connection Failure unless its wording says more; basis and
// confidence say what the answer rests on; nothing in a Diagnosis grows with the length of the reply; only
// the words of a permanent reply about this recipient say to remove the address (ActionRemoveAddress).
package diagnose
