package page

import "testing"

func TestPath(t *testing.T) {
	for path, good := range map[string]bool{"": true, "/mail": true, "/mail/": true, "/a/b.c": true,
		"mail": false, "/": false, "/..": false, "/a/./b": false, "/a b": false, "//a": false} {
		p := Default()
		p.Path = path
		var what []string
		p.Validate(func(key, why, _ string) { what = append(what, key+" "+why) })
		if (len(what) == 0) != good {
			t.Errorf("%q: %v", path, what)
		}
	}
}
