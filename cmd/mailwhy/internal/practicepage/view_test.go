package practicepage

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// FuzzParse: whatever a mail is, reading and showing it ends, within its bounds.
func FuzzParse(f *testing.F) {
	for _, content := range []string{full, "", ":\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n",
		"Subject: =?x?q?=\r\nContent-Type: text/html; charset=koi8-r\r\n\r\n<img src=cid:>"} {
		f.Add([]byte(content))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		subject(content)
		header(content)
		v := parse(content)
		if len(v.Parts) > maxParts {
			t.Errorf("%d parts", len(v.Parts))
		}
		if v.HTML != nil {
			v.inlined(1)
			v.HTML.Shown()
		}
	})
}

// TestContrast: every text has a contrast of 4.5 to 1 or more in both color schemes (WCAG 2.2, 1.4.3).
func TestContrast(t *testing.T) {
	text, err := os.ReadFile("assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(text), "prefers-color-scheme: dark")
	if !ok {
		t.Fatal("there is no dark scheme")
	}
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colors := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6})`).FindAllStringSubmatch(css, -1) {
			colors[m[1]] = luminance(t, m[2])
		}
		for _, pair := range [][2]string{{"ink", "paper"}, {"dim", "paper"}, {"accent", "paper"},
			{"error", "paper"}, {"ink", "soft"}, {"accent", "soft"}, {"button-ink", "button"}} {
			a, b := colors[pair[0]], colors[pair[1]]
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); len(colors) < 9 || ratio < 4.5 {
				t.Errorf("%s: %s on %s has %.2f to 1", scheme, pair[0], pair[1], ratio)
			}
		}
	}
}

// luminance is the relative luminance of a color (WCAG 2.2).
func luminance(t *testing.T, hex string) (sum float64) {
	t.Helper()
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			sum += weight * c / 12.92
		} else {
			sum += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return sum
}
