// Package dkimpy has DKIM signatures verified by dkimpy (Debian: python3-dkim, python3-nacl), for tests that
// want another opinion than that of the library which signs.
package dkimpy

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"
)

const program = `
import base64, dkim, json, sys
job = json.load(sys.stdin)
def txt(name, timeout=5):
    return job["Zone"].get(name.decode().rstrip("."), "").encode()
def verify(d, i):
    try:
        return "" if d.verify(idx=i, dnsfunc=txt) else "it does not verify"
    except dkim.DKIMException as e:
        return str(e)
def signatures(d):
    return [h for h in d.headers if h[0].lower() == b"dkim-signature"]
print(json.dumps([[verify(d, i) for i in range(len(signatures(d)))]
    for d in [dkim.DKIM(base64.b64decode(m)) for m in job["Mails"]]]))
`

// Verify says of each mail what is wrong with each of its signatures, the topmost first: "" if it verifies.
// zone has the TXT records by their names. Without dkimpy the test is skipped.
func Verify(t testing.TB, zone map[string]string, mails ...[]byte) (wrong [][]string) {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import dkim, nacl").Run(); err != nil {
		t.Skip("skipping: python3-dkim or python3-nacl is not installed")
	}
	job, err := json.Marshal(struct {
		Zone  map[string]string
		Mails [][]byte
	}{zone, mails})
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(python, "-c", program)
	c.Stdin = bytes.NewReader(job)
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &wrong)
	}
	if err != nil || len(wrong) != len(mails) {
		t.Fatalf("dkimpy: %v: %s%s", err, out, &said)
	}
	return wrong
}
