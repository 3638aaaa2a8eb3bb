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
