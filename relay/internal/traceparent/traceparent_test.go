package traceparent

import "testing"

func TestParse(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for value, want := range map[string]bool{
		"00-" + trace + "-" + span + "-01":                    true,
		"00-" + trace + "-" + span + "-00":                    true,
		"cc-" + trace + "-" + span + "-01":                    true,
		"cc-" + trace + "-" + span + "-01-more":               true,
		"cc-" + trace + "-" + span + "-01.more":               false,
		"00-" + trace + "-" + span + "-01-more":               false, // of version 00 the length is known
		"ff-" + trace + "-" + span + "-01":                    false,
		"0-" + trace + "-" + span + "-01":                     false,
		"00-0AF7651916CD43DD8448EB211C80319C-" + span + "-01": false,
		"00-00000000000000000000000000000000-" + span + "-01": false,
		"00-" + trace + "-0000000000000000-01":                false,
		"00-" + trace + "-" + span + "-0x":                    false,
		"00-" + trace + "-" + span + "-":                      false,
		"00_" + trace + "_" + span + "_01":                    false,
		"":                                                    false,
		" 00-" + trace + "-" + span + "-01":                   false,
	} {
		gotTrace, gotSpan, ok := Parse(value)
		if ok != want || ok && (gotTrace != trace || gotSpan != span) || !ok && gotTrace+gotSpan != "" {
			t.Errorf("%q: %q, %q, %v", value, gotTrace, gotSpan, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, s string) {
		if trace, span, ok := Parse(s); ok && (len(trace) != 32 || len(span) != 16) {
			t.Errorf("%q, %q", trace, span)
		}
	})
}
