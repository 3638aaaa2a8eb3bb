package sespassword

import "testing"

// TestDerive has the check value of the Terraform provider's test.
func TestDerive(t *testing.T) {
	const want = "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"
	if got := Derive("some+secret+key", "eu-central-1"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if Derive("some+secret+key", "eu-west-1") == want || Derive("some+secret+kez", "eu-central-1") == want {
		t.Error("the password depends on neither the region nor the key")
	}
}

func TestKindOf(t *testing.T) {
	for value, want := range map[string]Kind{
		"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY":                      Secret,
		Derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "eu-west-1"): Password,
		"AkMXAmplELfcVZBXZ+3U0000000000000000000000AB":                  Password, // the older form
		"":         Other,
		"password": Other,
		"CMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2": Other,
	} {
		if got := KindOf(value); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}

func TestTemporary(t *testing.T) {
	if !Temporary("ASIAIOSFODNN7EXAMPLE") || Temporary("AKIAIOSFODNN7EXAMPLE") {
		t.Error("ASIA is temporary, AKIA is not")
	}
}

func TestRegion(t *testing.T) {
	for host, want := range map[string]string{
		"email-smtp.eu-central-1.amazonaws.com":     "eu-central-1",
		"Email-SMTP.us-east-1.amazonaws.com.":       "us-east-1",
		"email-smtp-fips.us-west-2.amazonaws.com":   "us-west-2",
		"email-smtp.amazonaws.com":                  "",
		"smtp.example.com":                          "",
		"email-smtp.eu-west-1.amazonaws.com.a.test": "",
	} {
		if got := Region(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}
