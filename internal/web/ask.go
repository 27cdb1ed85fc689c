package web

// ask is a form that says what a change will do and asks for it, once. With a script it opens over the
// page that leads to it; without one it is a page.
type ask struct {
	Title string   // "Cancel this rotation?"
	What  []string // what will happen, a sentence each
	Facts []fact
	// Fields are filled in with what was sent when the form is shown again.
	Fields []field
	Hidden map[string]string // is sent along
	Button string            // "Cancel the rotation"; empty: nothing can be done, and the page says why
	Danger bool
	Back   string // where to go instead
	Nav    string // the key of the navItem that it belongs to

	Action  string // filled in by form: this address
	Problem string // filled in by form
}

// fact is something that whoever decides should know.
type fact struct{ Name, Value string }

// The kinds of fields.
const (
	fieldText   = "text"   // one line
	fieldArea   = "area"   // several
	fieldSelect = "select" // one of the options, from a list
	fieldChoice = "choice" // one of the options, each with its hint
)

// field is one thing to fill in.
type field struct {
	Name, Label, Kind, Help, Value string
	Required                       bool
	Max                            int // characters; 0: 500
	Options                        []option
}

type option struct{ Value, Label, Help string }

// form makes the view of a form that asks.
func (v *visit) form(a ask) *view {
	a.Action, a.Problem = v.URL.Path, v.Problem
	for i := range a.Fields {
		if a.Fields[i].Max == 0 {
			a.Fields[i].Max = 500
		}
		if sent, ok := v.PostForm[a.Fields[i].Name]; ok && len(sent) > 0 {
			a.Fields[i].Value = sent[0]
		} else if v.URL.Query().Has(a.Fields[i].Name) {
			a.Fields[i].Value = v.URL.Query().Get(a.Fields[i].Name)
		}
	}
	for name := range a.Hidden {
		if sent, ok := v.PostForm[name]; ok && len(sent) > 0 {
			a.Hidden[name] = sent[0]
		}
	}
	return &view{Title: a.Title, Nav: a.Nav, Template: "ask", Fragment: "ask", Data: a}
}
