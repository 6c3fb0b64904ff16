package scale
import ("os";"runtime/pprof";"fmt";"sort")
func profile(n string) { f,_ := os.Create("/tmp/prof."+n); pprof.Lookup(n).WriteTo(f,0); f.Close() }
func (r *run) sums() map[string]float64 {
	sum := map[string]float64{}
	for _, i := range r.isles {
		fs, _ := i.reg.Gather()
		for _, f := range fs { for _, m := range f.GetMetric() {
			k := f.GetName()
			for _, l := range m.GetLabel() { k += ","+l.GetValue() }
			sum[k] += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		} }
	}
	return sum
}
func diff(a, b map[string]float64) {
	var out []string
	for k, v := range b { if v != a[k] { out = append(out, fmt.Sprintf("%s=%.0f", k, v-a[k])) } }
	sort.Strings(out)
	for _, l := range out { fmt.Fprintln(os.Stderr, "   ", l) }
}
