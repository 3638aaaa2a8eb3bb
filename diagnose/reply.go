package diagnose

import (
	"encoding/json"
	"unicode/utf8"
)

// Reply is what a server said (RFC 5321, 4.2). The zero Reply means that nothing was said.
type Reply struct {
	Raw      string   // the bytes as received, line ends included
	Code     int      // the basic code, 200 to 799; 0 when there is none
	Enhanced Enhanced // RFC 3463; zero when there is none. A mismatch with Code is kept as it came
	Text     string   // the wording without the codes at the line starts, lines joined by a space
}

// IsZero reports whether nothing was said.
func (r Reply) IsZero() bool { return r.Raw == "" && r.Code == 0 }

// Class is the first digit of the basic code: 2, 4, 5 ... or 0.
func (r Reply) Class() int { return r.Code / 100 }

// replyJSON is how a Reply is stored: by its bytes alone, since the rest follows from them.
type replyJSON struct {
	Raw   string `json:"raw,omitempty"`
	Bytes []byte `json:"bytes,omitempty"` // in place of Raw where that is no valid UTF-8
}

// MarshalJSON writes r so that UnmarshalJSON restores every byte.
func (r Reply) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(r.Raw) {
		return json.Marshal(replyJSON{Raw: r.Raw})
	}
	return json.Marshal(replyJSON{Bytes: []byte(r.Raw)})
}

// UnmarshalJSON restores a Reply written by MarshalJSON.
func (r *Reply) UnmarshalJSON(b []byte) error {
	var j replyJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.Bytes != nil {
		j.Raw = string(j.Bytes)
	}
	*r = Reply{}
	if j.Raw != "" {
		*r = ParseReply(j.Raw)
	}
	return nil
}
