package sns

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
)

// TestPractice: the file's certificate is used as it is now, and proves what it signed and nothing else.
func TestPractice(t *testing.T) {
	const topic, url = "arn:aws:sns:eu-west-1:1:mail", "https://sns.eu-west-1.amazonaws.com/x.pem"
	p := Practice{File: filepath.Join(t.TempDir(), "practice.pem")}
	if _, err := p.Certificates(t.Context(), url); err == nil {
		t.Error("a certificate out of no file")
	}
	var before *authority
	for range 2 {
		a := newAuthority(t)
		own := a.issue("sns.amazonaws.com", a.root, nil)
		file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Raw})
		if err := os.WriteFile(p.File, file, 0o600); err != nil {
			t.Fatal(err)
		}
		chain, err := p.Certificates(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if err := Amazon().Verify(a.signed(topic), chain, nil, testTime); err != nil {
			t.Error(err)
		}
		if before != nil && Amazon().Verify(before.signed(topic), chain, nil, testTime) == nil {
			t.Error("proved by a certificate that is not there any more")
		}
		before = a
	}
	if p.Confirm(t.Context(), url) == nil {
		t.Error("a subscription was confirmed")
	}
}
