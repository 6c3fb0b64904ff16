package dashboard

import (
	"os"
	"strings"
	"testing"
)

func full(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/full.json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCheckTakesEveryField(t *testing.T) {
	if err := Check(full(t)); err != nil {
		t.Errorf("Check of a dashboard with every field: %v", err)
	}
}

func TestCheckNamesTheField(t *testing.T) {
	replaced := func(old, by string) string {
		out := strings.Replace(string(full(t)), old, by, 1)
		if out == string(full(t)) {
			t.Fatalf("%q is not in full.json", old)
		}
		return out
	}
	panel := func(p string) string { return `{"title":"t","panels":[` + p + `]}` }
	for name, tc := range map[string]struct{ value, want string }{
		"nothing":       {"", "must be a JSON object"},
		"a list":        {"[]", "must be a JSON object"},
		"broken":        {`{"title":`, "read JSON"},
		"unknown field": {`{"title":"t","panels":[],"rows":[]}`, `unknown field "rows"`},
		"two objects":   {`{"title":"t","panels":[]} {}`, "more after the object"},
		"wrong type":    {`{"title":"t","panels":[{"width":"6"}]}`, "panels.width: got a JSON string"},
		"no title":      {`{"panels":[]}`, "title: 0 characters"},
		"long title":    {`{"title":"` + strings.Repeat("长", 201) + `","panels":[]}`, "title: 201 characters"},
		"range":         {replaced(`"range": "6h"`, `"range": "soon"`), `range: got "soon"`},
		"refresh":       {replaced(`"refresh": "30s"`, `"refresh": "0s"`), `refresh: got "0s"`},
		"panel type":    {panel(`{"type":"pie","width":6,"height":6}`), `panels[0].type: got "pie", must be one of timeseries`},
		"width":         {panel(`{"type":"stat","width":13,"height":6}`), "panels[0].width: got 13, must be 1 to 12"},
		"height":        {panel(`{"type":"stat","width":1}`), "panels[0].height: got 0"},
		"unit":          {panel(`{"type":"stat","width":1,"height":1,"unit":"furlong"}`), `panels[0].unit: got "furlong"`},
		"no expression": {panel(`{"type":"stat","width":1,"height":1,"queries":[{"expr":""}]}`), "panels[0].queries[0].expr: 0 characters"},
		"many queries":  {panel(`{"type":"stat","width":1,"height":1,"queries":[` + strings.Repeat(`{"expr":"up"},`, 20) + `{"expr":"up"}]}`), "panels[0].queries: 21 of them"},
		"threshold":     {panel(`{"type":"stat","width":1,"height":1,"thresholds":[{"value":1,"state":"red"}]}`), `panels[0].thresholds[0].state: got "red"`},
		"many panels":   {panel(strings.Repeat(`{"type":"row","width":12,"height":1},`, 100) + `{"type":"row","width":12,"height":1}`), "panels: 101 of them"},
		"variable name": {replaced(`"name": "job"`, `"name": "1 job"`), `variables[0].name: got "1 job"`},
		"name twice":    {replaced(`"name": "env"`, `"name": "job"`), `variables[1].name: "job" is there already`},
		"values of":     {replaced(`"values_of": "job",`, ``), "variables[0].values_of: 0 characters"},
		"too large":     {`{"title":"` + strings.Repeat("x", MaxBytes) + `"}`, "must be at most 262144"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check([]byte(tc.value))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Check: %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestCheckTellsAllMistakes(t *testing.T) {
	err := Check([]byte(`{"title":"","range":"x","panels":[{"type":"pie","width":0,"height":0}]}`))
	for _, want := range []string{"title", "range", "panels[0].type", "panels[0].width", "panels[0].height"} {
		if err == nil || !strings.Contains(err.Error(), "dashboard: "+want+":") {
			t.Errorf("Check: %v, want %s named", err, want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(full(f))
	f.Add([]byte(`{"title":"t","panels":[{}]}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		if Check(value) == nil && len(value) > MaxBytes {
			t.Errorf("Check took %d bytes", len(value))
		}
	})
}
