package strace

import "testing"

func TestSpoolFile(t *testing.T) {
	for _, tt := range []struct {
		arguments, name string
		ok              bool
	}{
		{`7</x/spool/spool.db-wal>, ""..., 24, 0`, "spool.db-wal", true},
		{
			`AT_FDCWD</home>, "/x/spool/content/a.tmp", AT_FDCWD</home>, "/x/spool/content/a"`,
			"content/a.tmp", true,
		},
		{`7</x/spool>`, "", true},
		{`9<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 5`, "", false},
		{"9</x/log>, \"\"..., 5\n12 fsync(7</x/spool/spool.db>)", "", false},
	} {
		if name, ok := spoolFile(tt.arguments, "/x/spool"); name != tt.name || ok != tt.ok {
			t.Errorf("%s: %q, %v", tt.arguments, name, ok)
		}
	}
}
