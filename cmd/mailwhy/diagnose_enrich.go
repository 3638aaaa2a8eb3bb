package main

import (
	"errors"
	"fmt"
	"io"

	"mailwhy/diagnose/bounce"
	"mailwhy/relay/dsn"
)

// errNotEnriched says why a report came out as it went in.
var errNotEnriched = errors.New("no delivery status is found in the report: it is emitted as it is")

// enrichFile emits a bounce with our annotation last in each recipient's block of its delivery status. A
// bounce that cannot be annotated is emitted whole as it came, so that a filter loses nothing, and is an
// error.
func (d *diagnoser) enrichFile(name string) error {
	return d.withFile(name, func(r io.Reader) error {
		file, err := io.ReadAll(io.LimitReader(r, bounce.MaxSize+1))
		if err != nil {
			return err
		}
		a := d.enriched(file)
		if _, err := d.out.Write(a.File); err != nil {
			return err
		}
		if len(file) > bounce.MaxSize {
			if _, err := io.Copy(d.out, r); err != nil {
				return err
			}
			return fmt.Errorf("%s: larger than %d MiB: it is emitted as it is", name, bounce.MaxSize>>20)
		}
		d.warnOfLimits(name, a.Limits)
		if a.Recipients == 0 {
			return fmt.Errorf("%s: %w", name, errNotEnriched)
		}
		return nil
	})
}

// enriched is a bounce with its annotation. What is not a refusal gets none.
func (d *diagnoser) enriched(file []byte) bounce.Annotated {
	return bounce.Annotate(file, func(r *bounce.Recipient) []byte {
		found := d.explainRecipient(r)
		if found.Category == "" {
			return nil
		}
		return dsn.Annotation(found.Diagnosis)
	})
}
