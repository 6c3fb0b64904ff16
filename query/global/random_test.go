package global

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// exprs generates random expressions over the metrics of randomData.
type exprs struct{ r *rand.Rand }

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// vector returns an expression of instant vector type; depth bounds its nesting.
func (g exprs) vector(depth int) string {
	if depth <= 0 {
		return g.selector() + g.shift()
	}
	switch g.r.IntN(13) {
	case 0:
		return g.selector() + g.shift()
	case 1, 2:
		return g.over(depth - 1)
	case 3, 4, 5:
		return g.aggregate(depth - 1)
	case 6, 7:
		return g.join(depth - 1)
	case 8:
		return fmt.Sprintf("%s(%s)", pick(g.r, "abs", "ceil", "-", "sgn", "timestamp", "sqrt", "histogram_count", "histogram_avg", "sort", "sort_desc"), g.vector(depth-1))
	case 9:
		return fmt.Sprintf("(%s) %s %s", g.vector(depth-1), pick(g.r, "+", "*", ">", ">= bool", "/", "%", "^"), g.scalar(depth-1))
	case 10:
		return g.relabel(depth - 1)
	case 11:
		return g.absent(depth - 1)
	default:
		return fmt.Sprintf("histogram_quantile(%s, %s)", pick(g.r, "0.5", "0.9", "scalar(c1{job=\"a\"})"), g.histogram(depth-1))
	}
}

func (g exprs) selector() string {
	name := pick(g.r, "c1_total", "c2_total", "g1", "g1", "g2", "nh", "mix", "lat_bucket", `{__name__=~"g1|g2"}`)
	matcher := pick(g.r, "", "", "", `job="a"`, `job!="a"`, `pod=~"p[0-3]"`, `island="isle-1"`, `island!="isle-1"`, `island=~"isle-[02]"`, `zone=""`, `zone!="z1"`, `nothing="here"`)
	if strings.HasPrefix(name, "{") {
		return strings.TrimSuffix(strings.TrimSuffix(name, "}")+","+matcher, ",") + "}"
	}
	if matcher == "" {
		return name
	}
	return name + "{" + matcher + "}"
}

// shift is an offset or @ modifier, mostly none.
func (g exprs) shift() string {
	return pick(g.r, "", "", "", "", "", " offset 90s", " offset -2m", " @ 1300", " @ start()", " @ end()", " @ 900 offset 1m", " offset step()")
}

func (g exprs) width() string { return pick(g.r, "1m", "2m30s", "5m", "11m") }

// over is a function over a range vector or a subquery.
func (g exprs) over(depth int) string {
	what := fmt.Sprintf("%s[%s]%s", g.selector(), g.width(), g.shift())
	if depth > 0 && g.r.IntN(3) == 0 {
		what = fmt.Sprintf("(%s)[%s:%s]%s", g.vector(depth-1), g.width(), pick(g.r, "", "30s", "1m", "7s"), strings.TrimPrefix(g.shift(), " offset step()"))
	}
	switch g.r.IntN(8) {
	case 0:
		return fmt.Sprintf("quantile_over_time(%s, %s)", g.scalar(depth-1), what)
	case 1:
		return fmt.Sprintf("predict_linear(%s, 60)", what)
	}
	return fmt.Sprintf("%s(%s)", pick(g.r, "rate", "rate", "increase", "delta", "irate", "avg_over_time", "max_over_time", "sum_over_time",
		"count_over_time", "last_over_time", "present_over_time", "changes", "resets", "stddev_over_time", "deriv"), what)
}

func (g exprs) grouping() string {
	names := pick(g.r, "", "job", "pod", "island", "job, island", "le", "job, le", "zone, pod", "__name__")
	if names == "" && g.r.IntN(2) == 0 {
		return ""
	}
	return " " + pick(g.r, "by", "by", "without") + " (" + names + ")"
}

func (g exprs) aggregate(depth int) string {
	op, e := g.grouping(), g.vector(depth)
	switch g.r.IntN(12) {
	case 0:
		return fmt.Sprintf("topk%s (%s, %s)", op, pick(g.r, "1", "3", "100", "0"), e)
	case 1:
		return fmt.Sprintf("bottomk%s (%s, %s)", op, pick(g.r, "2", "5", g.scalar(0)), e)
	case 2:
		return fmt.Sprintf("quantile%s (%s, %s)", op, pick(g.r, "0.3", "1.2", g.scalar(0)), e)
	case 3:
		return fmt.Sprintf("count_values%s (%s, %s)", op, pick(g.r, `"v"`, `"job"`, `"island"`), e)
	case 4:
		return fmt.Sprintf("limit_ratio%s (%s, %s)", op, pick(g.r, "0.5", "-0.3"), e)
	}
	return fmt.Sprintf("%s%s (%s)", pick(g.r, "sum", "sum", "avg", "avg", "min", "max", "count", "group", "stddev", "stdvar"), op, e)
}

func (g exprs) join(depth int) string {
	l, r := g.vector(depth), g.vector(depth)
	if g.r.IntN(4) == 0 {
		r = pick(g.r, "vector(2)", "vector(time() % 120)", "(hour() >= 0)")
	}
	switch g.r.IntN(4) {
	case 0:
		return fmt.Sprintf("(%s) %s%s (%s)", l, pick(g.r, "and", "or", "unless"), pick(g.r, "", " on (job)", " on (job, island)", " ignoring (pod)", " ignoring (island)", " on ()"), r)
	case 1:
		match := pick(g.r, "on (pod)", "on (job, pod, island)", "ignoring (le, zone)", "on ()")
		return fmt.Sprintf("(%s) %s %s group_left (%s) max by (job, pod%s) (%s)", l, pick(g.r, "*", "-", ">"), match, pick(g.r, "", "zone"), pick(g.r, "", ", island"), r)
	case 2:
		return fmt.Sprintf("sum%s (%s) / sum%s (%s)", g.grouping(), l, g.grouping(), r)
	}
	return fmt.Sprintf("(%s) %s%s (%s)", l, pick(g.r, "+", "-", "*", "/", "==", "> bool", "<", "atan2"), pick(g.r, "", "", " on (job, pod, island)", " on (job, pod)", " ignoring (island)", " ignoring (zone)", " fill (0)", " on (job, pod) fill_left (1)"), r)
}

func (g exprs) scalar(depth int) string {
	if depth > 0 && g.r.IntN(3) == 0 {
		return fmt.Sprintf("scalar(%s)", pick(g.r, "sum", "avg", "count")+"("+g.vector(depth-1)+")")
	}
	return pick(g.r, "2", "0.5", "-1", "time()", "scalar(g1{pod=\"p1\"})", "scalar(vector(3))", "pi()", "1e3")
}

func (g exprs) relabel(depth int) string {
	e := g.vector(depth)
	switch g.r.IntN(4) {
	case 0:
		return fmt.Sprintf(`label_replace(%s, "island", "$1", "pod", "(.*)")`, e)
	case 1:
		return fmt.Sprintf(`label_replace(%s, "home", "$1", "island", "isle-(.*)")`, e)
	case 2:
		return fmt.Sprintf(`label_join(%s, "where", "/", "island", "pod")`, e)
	}
	return fmt.Sprintf(`label_replace(%s, "job", "x", "pod", "p1")`, e)
}

func (g exprs) absent(depth int) string {
	if g.r.IntN(2) == 0 {
		return fmt.Sprintf("absent(%s)", g.vector(depth))
	}
	return fmt.Sprintf("absent_over_time(%s[%s]%s)", g.selector(), g.width(), g.shift())
}

func (g exprs) histogram(depth int) string {
	inner := fmt.Sprintf("rate(%s[%s])", pick(g.r, "lat_bucket", "nh", `lat_bucket{job="b"}`), g.width())
	switch g.r.IntN(4) {
	case 0:
		return inner
	case 1:
		return fmt.Sprintf("sum by (%s) (%s)", pick(g.r, "le", "le, job", "le, island"), inner)
	case 2:
		return fmt.Sprintf("sum without (%s) (%s)", pick(g.r, "pod", "pod, island"), inner)
	}
	return g.vector(depth)
}
