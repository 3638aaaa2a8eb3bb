package dropin

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

// defaultChecks is the file of header checks that comes with boky/postfix.
const defaultChecks = "/etc/postfix/smtp_header_checks"

// wholeField is a pattern that matches every field of a name.
var wholeField = regexp.MustCompile(`^/\^([!-9;-~]+?):(?:\.\*\$?)?/[a-zA-Z]*$`)

// check is a pattern and its action.
var check = regexp.MustCompile(`^(/.*?[^\\]/[a-zA-Z]*)\s+(\S+)`)

// headerChecks reads which header fields are removed. Every other check of the file has a note.
func (r *reading) headerChecks() {
	const variable = "SMTP_HEADER_CHECKS"
	value := r.use(variable)
	if value == "" {
		return
	}
	file := value
	if _, path, ok := strings.Cut(value, ":"); ok {
		file = path
	}
	if value == "1" {
		file = defaultChecks
	}
	text, err := fs.ReadFile(r.in.Files, strings.TrimPrefix(file, "/"))
	switch {
	case err != nil && file == defaultChecks:
		// The file is part of the image, which is not this one.
		r.removeFields(variable,
			[]any{"X-Originating-IP", "X-Mailer", "X-PHP-Originating-Script", "User-Agent"})
		r.refused(variable, "Received fields are kept: loops are found by them")
		return
	case err != nil:
		r.refused(variable, file+" cannot be read")
		return
	}
	var names []any
	for line := range strings.Lines(string(text)) {
		name, why := readCheck(strings.TrimSpace(line))
		switch {
		case why != "":
			r.refused(variable, fmt.Sprintf("%q: %s", strings.TrimSpace(line), why))
		case name != "":
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		r.removeFields(variable, names)
	}
}

// removeFields adds a rule that removes header fields.
func (r *reading) removeFields(variable string, names []any) {
	r.rewrites = append(r.rewrites, map[string]any{"name": variable, "remove_headers": names})
	r.note(variable, Became, fmt.Sprintf("rewrite.remove_headers = %v", names), "rewrite")
}

// readCheck reads one line of header checks: the field that it removes, or why it has no counterpart; neither
// if there is nothing to do.
func readCheck(line string) (name, why string) {
	if line == "" || line[0] == '#' {
		return "", ""
	}
	parts := check.FindStringSubmatch(line)
	if parts == nil {
		return "", "it is not /pattern/ ACTION"
	}
	word := strings.ToUpper(parts[2])
	m := wholeField.FindStringSubmatch(parts[1])
	switch {
	case word == "DUNNO", word == "INFO", word == "WARN":
		return "", ""
	case word != "IGNORE" && word != "STRIP":
		return "", "mailwhy removes fields, and adds them by rewrite.add_headers"
	case m == nil:
		return "", "mailwhy removes fields by their name, whatever their value"
	case kept(m[1]):
		return "", "mail needs this field"
	}
	return m[1], ""
}

// kept reports whether a field cannot be removed by rewrite.remove_headers.
func kept(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "received", "return-path", "date", "message-id", "from", "mime-version":
		return true
	}
	return strings.HasPrefix(name, "content-")
}
