package admin

import (
	"context"
	_ "embed"
	"io"
	"net/http"
	"time"

	"mailwhy/diagnose"
)

// SuppressionFiles turns the suppression list into files and back.
type SuppressionFiles interface {
	// Import adds the entries of another system's list.
	Import(ctx context.Context, in io.Reader, o ImportOptions) (Imported, error)
	// Export writes what is suppressed as CSV.
	Export(ctx context.Context, out io.Writer) error
}

// ImportOptions are how a list is imported.
type ImportOptions struct {
	Scope   string          // of the entries; "": as the list says
	Reason  diagnose.Reason // of the entries; "": as the list says
	Expires time.Time       // of entries where the list does not say; zero: as suppression.ttl has it
	All     bool            // also entries whose reply is not about the address
}

// Imported is what became of an imported list.
type Imported struct {
	Added    int       `json:"added"`
	Known    int       `json:"known"`     // suppressed already, at least as long
	NotAbout int       `json:"not_about"` // left out: their reply is not about the address
	Bad      int       `json:"bad"`       // not valid
	Lines    []BadLine `json:"lines,omitempty"`
}

// BadLine is a line that was not added, and why. At most 1000 of them are told.
type BadLine struct {
	Line int    `json:"line"`
	Why  string `json:"why"`
}

// imports answers POST /v1/suppressions/import.
func (s *Server) imports(r *http.Request) (any, error) {
	if _, err := s.suppressionList(); err != nil {
		return nil, err
	}
	q := r.URL.Query()
	expires, err := timeOf(q, "expires")
	if err != nil {
		return nil, err
	}
	return s.o.Files.Import(r.Context(), r.Body, ImportOptions{Scope: q.Get("scope"),
		Reason: diagnose.Reason(q.Get("reason")), Expires: expires, All: q.Get("all") == "true"})
}

// export answers GET /v1/suppressions/export. An answer that breaks off is not whole.
func (s *Server) export(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.suppressionList(); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	if err := s.o.Files.Export(r.Context(), w); err != nil {
		s.o.Log.Error("the suppression list was not exported whole", "err", err)
		panic(http.ErrAbortHandler) // the client must see that it is not whole
	}
	return nil
}

// document is the description of the API, made from routes.go by go test -run OpenAPI -update.
//
//go:embed openapi.json
var document []byte

// openAPI answers GET /v1/openapi.json.
func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(document)
	return err
}
