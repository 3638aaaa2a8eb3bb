package practicepage

import (
	"cmp"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// routes are the page's own. What changes something is a POST, and answers with a redirect.
func (p *Page) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", p.list)
	m.HandleFunc("GET /newest", p.newest)
	m.HandleFunc("GET /mail/{id}", p.show)
	m.HandleFunc("GET /mail/{id}/{kind}", p.show)
	m.HandleFunc("GET /mail/{id}/frame", p.frame)
	m.HandleFunc("GET /mail/{id}/raw", p.raw)
	m.HandleFunc("GET /mail/{id}/image/{n}", p.image)
	m.HandleFunc("GET /mail/{id}/file/{n}", p.file)
	m.HandleFunc("POST /mail/{id}/delete", p.drop)
	m.HandleFunc("POST /mail/delete", p.dropAll)
	m.HandleFunc("POST /answers", p.choose)
	m.HandleFunc("POST /answers/{id}/delete", p.forget)
	assets, err := fs.Sub(files, "assets")
	if err != nil {
		panic(err) // the directory is embedded
	}
	m.Handle("GET /assets/", http.StripPrefix("/assets/", http.FileServerFS(assets)))
	return m
}

// listed is what the list shows.
type listed struct {
	Mails   []*mail
	Newest  int
	Keep    int
	Answers []answer
	Groups  []group
	Stages  []stage
	Error   string // about the form that was sent
	Form    map[string]string
}

// group are the cases of one of the guide's categories.
type group struct {
	Category string
	Cases    []smtptest.Case
}

// groups are the cases by category, in the order in which they are documented; those without one come last.
func groups() (all []group) {
	for _, c := range smtptest.Cases() {
		name := cmp.Or(string(c.Category), "Temporary and broken")
		at := slices.IndexFunc(all, func(g group) bool { return g.Category == name })
		if at < 0 {
			at, all = len(all), append(all, group{Category: name})
		}
		all[at].Cases = append(all[at].Cases, c)
	}
	return all
}

// list is the first page.
func (p *Page) list(w http.ResponseWriter, _ *http.Request) { p.listWith(w, "", nil) }

// listWith is the first page, with what is wrong with a form that was sent.
func (p *Page) listWith(w http.ResponseWriter, mistake string, form map[string]string) {
	status := http.StatusOK
	if mistake != "" {
		status = http.StatusUnprocessableEntity
	}
	p.render(w, status, "list.html", listed{Newest: p.box.newest(), Mails: p.box.list(), Keep: p.o.Keep,
		Answers: p.answers.all(), Groups: groups(), Stages: stages(), Error: mistake, Form: form})
}

// newest tells the page's script the id of the newest mail.
func (p *Page) newest(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, p.box.newest())
}

// find is the mail of a request; nil if it is not there, which was answered.
func (p *Page) find(w http.ResponseWriter, r *http.Request) *mail {
	id, _ := strconv.Atoi(r.PathValue("id"))
	m := p.box.get(id)
	if m == nil {
		http.Error(w, "this mail is not here: it was deleted, or newer ones took its place",
			http.StatusNotFound)
	}
	return m
}

// shown is what the page of a mail shows.
type shown struct {
	*mail
	View   *view
	Kind   string
	Kinds  []string
	Remote bool
	Header string
}

// show is the page of a mail: its HTML, text, headers, source or files.
func (p *Page) show(w http.ResponseWriter, r *http.Request) {
	m := p.find(w, r)
	if m == nil {
		return
	}
	s := shown{mail: m, View: parse(m.Content), Remote: wantsRemote(r)}
	if s.View.HTML != nil {
		s.Kinds = append(s.Kinds, "html")
	}
	s.Kinds = append(s.Kinds, "text", "headers", "source")
	if len(s.View.Files()) > 0 {
		s.Kinds = append(s.Kinds, "attachments")
	}
	s.Kind = cmp.Or(r.PathValue("kind"), s.Kinds[0])
	if !slices.Contains(s.Kinds, s.Kind) {
		http.NotFound(w, r)
		return
	}
	s.Header = header(m.Content)
	p.render(w, http.StatusOK, "mail.html", s)
}

// wantsRemote reports whether remote images are to be shown. A link of another site cannot ask for them.
func wantsRemote(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return r.URL.Query().Get("remote") == "1" && site != "cross-site" && site != "same-site"
}

// frame is the HTML of a mail, for the frame.
func (p *Page) frame(w http.ResponseWriter, r *http.Request) {
	m := p.find(w, r)
	if m == nil {
		return
	}
	v := parse(m.Content)
	if v.HTML == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Security-Policy", mailPolicy(wantsRemote(r)))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(v.inlined(m.ID))
}

// raw is the content as it came.
func (p *Page) raw(w http.ResponseWriter, r *http.Request) {
	if m := p.find(w, r); m != nil {
		download(w, fmt.Sprintf("mail-%d.eml", m.ID), m.Content)
	}
}

// part is the part that a request names; nil if it is not there, which was answered.
func (p *Page) part(w http.ResponseWriter, r *http.Request) *part {
	m := p.find(w, r)
	if m == nil {
		return nil
	}
	n, _ := strconv.Atoi(r.PathValue("n"))
	if parts := parse(m.Content).Parts; n >= 1 && n <= len(parts) {
		return parts[n-1]
	}
	http.NotFound(w, r)
	return nil
}

// image is a picture that belongs to a mail's HTML.
func (p *Page) image(w http.ResponseWriter, r *http.Request) {
	f := p.part(w, r)
	switch {
	case f == nil:
	case !picture(f.Type):
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Security-Policy", partPolicy)
		w.Header().Set("Content-Type", f.Type)
		w.Write(f.Body)
	}
}

// file is a part as a download.
func (p *Page) file(w http.ResponseWriter, r *http.Request) {
	if f := p.part(w, r); f != nil {
		download(w, f.File(), f.Body)
	}
}

// download answers with a file that no browser opens.
func download(w http.ResponseWriter, name string, body []byte) {
	name = strings.Map(func(c rune) rune {
		if c < ' ' || strings.ContainsRune(`/\"`, c) {
			return '_'
		}
		return c
	}, name)
	w.Header().Set("Content-Security-Policy", partPolicy)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition",
		mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	w.Write(body)
}

// drop deletes a mail.
func (p *Page) drop(w http.ResponseWriter, r *http.Request) {
	if m := p.find(w, r); m != nil {
		p.box.remove(func(o *mail) bool { return o.ID == m.ID })
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

// dropAll deletes the mails that the list had, and none that came since.
func (p *Page) dropAll(w http.ResponseWriter, r *http.Request) {
	last, err := strconv.Atoi(r.PostFormValue("newest"))
	if err != nil {
		http.Error(w, "the form lacks its number", http.StatusBadRequest)
		return
	}
	p.box.remove(func(o *mail) bool { return o.ID <= last })
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// choose adds an answer.
func (p *Page) choose(w http.ResponseWriter, r *http.Request) {
	form := map[string]string{}
	for _, name := range []string{"case", "reply", "stage", "to", "times"} {
		form[name] = strings.TrimSpace(r.PostFormValue(name))
	}
	a, err := readAnswer(form)
	if err == nil {
		err = p.answers.add(a)
	}
	if err != nil {
		p.listWith(w, err.Error(), form)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// readAnswer reads the form of an answer.
func readAnswer(form map[string]string) (a answer, err error) {
	if a.Left, err = strconv.Atoi(form["times"]); err != nil || a.Left < 0 || a.Left > 1_000_000 {
		return a, fmt.Errorf("how often: write a number, 0 for always")
	}
	cases := smtptest.Cases()
	at := slices.IndexFunc(cases, func(c smtptest.Case) bool { return c.Name == form["case"] })
	switch {
	case form["case"] == "":
		if a.Case, err = readReply(form["reply"]); err != nil {
			return a, err
		}
		a.Case.Stage = diagnose.StageRcpt
	case at < 0:
		return a, fmt.Errorf("no case is called %q", form["case"])
	default:
		a.Case = cases[at]
	}
	if name := form["stage"]; name != "" {
		known := func(s stage) bool { return string(s.Stage) == name }
		if !slices.ContainsFunc(stages(), known) {
			return a, fmt.Errorf("%q is not a stage", name)
		}
		a.Case.Stage = diagnose.Stage(name)
	}
	a.Stage, a.To = a.Case.Stage, strings.ToLower(form["to"])
	if a.To != "" && a.Stage != diagnose.StageRcpt && a.Stage != diagnose.StageData &&
		a.Stage != diagnose.StageEndOfData {
		return a, fmt.Errorf("there is no recipient yet at this stage: leave it out, or choose a later one")
	}
	return a, nil
}

// forget removes an answer, or all of them for 0.
func (p *Page) forget(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	p.answers.remove(id)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
