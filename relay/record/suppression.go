package record

import "mailwhy/relay"

// appendSuppression appends the object that encoding/json makes of s.
func appendSuppression(b []byte, s *relay.Suppression) []byte {
	b = appendString(append(b, `{"address":`...), s.Address)
	b = appendString(append(b, `,"scope":`...), s.Scope)
	b = appendString(append(b, `,"state":`...), string(s.State))
	b = appendString(append(b, `,"reason":`...), string(s.Reason))
	b = appendString(append(b, `,"source":`...), s.Source)
	b = append(appendTime(append(b, `,"first_seen":"`...), s.FirstSeen), '"')
	b = append(appendTime(append(b, `,"last_seen":"`...), s.LastSeen), '"')
	b = appendInt(b, "hits", int64(s.Hits))
	b = appendField(b, "reply", s.Reply)
	b = appendField(b, "message", s.Message)
	b = appendField(b, "upstream", s.Upstream)
	b = appendField(b, "rule", s.Rule)
	b = appendField(b, "confidence", string(s.Confidence))
	b = appendField(b, "note", s.Note)
	b = appendInt(b, "step", int64(s.Step))
	if !s.Expires.IsZero() {
		b = append(appendTime(append(b, `,"expires":"`...), s.Expires), '"')
	}
	return append(b, '}')
}
