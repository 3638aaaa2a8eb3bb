package metrics

import (
	"strconv"
	"strings"
)

// contentType is that of the text exposition format.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// page is an exposition in the making.
type page struct {
	b      []byte
	family string
}

// The escapes of the format.
var (
	labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// begin begins a family; its samples follow.
func (p *page) begin(name, kind, help string) {
	p.family = name
	p.b = append(p.b, "# HELP "+name+" "+helpEscapes.Replace(help)+"\n# TYPE "+name+" "+kind+"\n"...)
}

// add writes a sample of the family; labels are names and values in turn.
func (p *page) add(value float64, labels ...string) { p.sample("", value, labels) }

// sample writes a sample of the family, or of the series that suffix makes of it.
func (p *page) sample(suffix string, value float64, labels []string) {
	p.b = append(append(p.b, p.family...), suffix...)
	before := byte('{')
	for i := 0; i < len(labels); i += 2 {
		p.b = append(p.b, before)
		before = ','
		p.b = append(append(p.b, labels[i]...), `="`...)
		p.b = append(append(p.b, labelEscapes.Replace(labels[i+1])...), '"')
	}
	if len(labels) > 0 {
		p.b = append(p.b, '}')
	}
	p.b = append(p.b, ' ')
	p.b = append(number(p.b, value), '\n')
}

// number appends a value.
func number(b []byte, v float64) []byte { return strconv.AppendFloat(b, v, 'f', -1, 64) }

// histogram writes the series of a histogram. Its count is the sum of what was read of the buckets, so that the two agree while
// others count on.
func (p *page) histogram(h *histogram, labels ...string) {
	var n uint64
	at := len(labels) + 1
	labels = append(labels[:len(labels):len(labels)], "le", "+Inf")
	for i := range h.counts {
		n += h.counts[i].Load()
		labels[at] = "+Inf"
		if i < len(h.bounds) {
			labels[at] = string(number(nil, h.bounds[i].Seconds()))
		}
		p.sample("_bucket", float64(n), labels)
	}
	p.sample("_sum", float64(h.micros.Load())/1e6, labels[:at-1])
	p.sample("_count", float64(n), labels[:at-1])
}
