package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// mostGroups are so many places as a sentence names.
const mostGroups = 3

// sentence says the verdict in words.
func (v *Verdict) sentence(r Rules, now time.Time) string {
	var parts []string
	switch bad := slices.Concat(v.Failing, v.Slow); {
	case v.voters() == 0:
		return v.nobody(r)
	case len(v.Failing) > 0:
		parts = append(parts, fmt.Sprintf("down from %s%s%s", places(v.Failing, v), since(earliest(v.Failing), now), reasons(v.Failing)))
		if len(v.Slow) > 0 {
			parts = append(parts, "slow from "+places(v.Slow, v))
		}
		if len(v.Fine) > 0 {
			parts = append(parts, fmt.Sprintf("fine from %s", others(len(v.Fine))))
		}
	case len(v.Slow) > 0:
		parts = append(parts, fmt.Sprintf("slow from %s%s%s", places(bad, v), since(earliest(bad), now), reasons(bad)))
		if len(v.Fine) > 0 {
			parts = append(parts, fmt.Sprintf("fine from %s", others(len(v.Fine))))
		}
	default:
		parts = append(parts, fmt.Sprintf("fine from %s%s", v.all(), since(v.Since, now)))
	}
	said := strings.Join(parts, ", ")
	for _, more := range []string{v.quorumWords(r), v.uncounted(), v.flapWords()} {
		if more != "" {
			said += "; " + more
		}
	}
	return said
}

func (v *Verdict) nobody(r Rules) string {
	switch {
	case len(v.Blind) > 0:
		return "nobody can tell: " + v.uncounted()
	case len(v.Silent) > 0:
		return fmt.Sprintf("nobody can tell: no vantage has probed it for %s", r.Fresh.Round(time.Second))
	}
	return "nobody has probed it yet"
}

func (v *Verdict) quorumWords(r Rules) string {
	switch {
	case len(v.Failing) == 0:
		return ""
	case v.State == Down && !v.Page:
		return fmt.Sprintf("below paging quorum %d", v.PageQuorum)
	case v.State != Down && len(v.Failing) < atLeast(r.Quorum.Down, r, v.voters()):
		return fmt.Sprintf("below the quorum of %d", atLeast(r.Quorum.Down, r, v.voters()))
	case v.State != Down:
		return fmt.Sprintf("in fewer regions than the %d that make it down", r.Quorum.Regions)
	}
	return ""
}

// uncounted says whose votes were left out, and why.
func (v *Verdict) uncounted() string {
	var parts []string
	for i, vote := range v.Blind {
		if i == mostGroups {
			parts = append(parts, fmt.Sprintf("and %d more", len(v.Blind)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s not counted: its own uplink is bad (%s)", vote.Vantage.Name, vote.Uplink))
	}
	return strings.Join(parts, ", ")
}

func (v *Verdict) flapWords() string {
	if !v.Flapping {
		return ""
	}
	return fmt.Sprintf("flapping: held %s until it is calm for %s", v.State, calmAfter)
}

// places groups vantages by what they have in common, the region first: "2 ISPs in
// cn-north", "isp Acme in eu", "tokyo-1 (ap)".
func places(votes []Vote, v *Verdict) string {
	if isp := commonISP(votes, v); isp != "" {
		return fmt.Sprintf("ISP %s in %s", isp, list(regionNames(votes)))
	}
	byRegion := map[string][]Vote{}
	for _, vote := range votes {
		byRegion[vote.Vantage.Region] = append(byRegion[vote.Vantage.Region], vote)
	}
	names := slices.SortedFunc(maps.Keys(byRegion), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(byRegion[b]), len(byRegion[a])), strings.Compare(a, b))
	})
	var parts []string
	for i, region := range names {
		if i == mostGroups {
			left := 0
			for _, more := range names[i:] {
				left += len(byRegion[more])
			}
			parts = append(parts, fmt.Sprintf("%d more", left))
			break
		}
		parts = append(parts, group(region, byRegion[region]))
	}
	return list(parts)
}

// group says which vantages of one region.
func group(region string, votes []Vote) string {
	in := ""
	if region != "" {
		in = " in " + region
	}
	isps := map[string]bool{}
	for _, vote := range votes {
		isps[vote.Vantage.ISP] = true
	}
	switch {
	case len(votes) == 1:
		if isp := votes[0].Vantage.ISP; isp != "" {
			return fmt.Sprintf("%s%s (ISP %s)", votes[0].Vantage.Name, in, isp)
		}
		return votes[0].Vantage.Name + in
	case len(isps) > 1 && !isps[""]:
		return fmt.Sprintf("%d ISPs%s", len(isps), in)
	}
	return fmt.Sprintf("%d vantages%s", len(votes), in)
}

// commonISP is the one that all of these are of while nobody else of it is fine and
// others in their regions are: then it is the ISP's trouble. "" if there is none.
func commonISP(votes []Vote, v *Verdict) string {
	isp := votes[0].Vantage.ISP
	if isp == "" || len(votes) < 2 {
		return ""
	}
	mine := map[string]bool{}
	for _, vote := range votes {
		if vote.Vantage.ISP != isp {
			return ""
		}
		mine[vote.Vantage.Region] = true
	}
	beside := false
	for _, fine := range v.Fine {
		if fine.Vantage.ISP == isp {
			return ""
		}
		beside = beside || mine[fine.Vantage.Region]
	}
	if !beside {
		return ""
	}
	return isp
}

func regionNames(votes []Vote) (names []string) {
	for _, vote := range votes {
		names = append(names, cmp.Or(vote.Vantage.Region, "no region"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// reasons are the codes of why, the most frequent first.
func reasons(votes []Vote) string {
	count := map[string]int{}
	for _, vote := range votes {
		if vote.Code != "" {
			count[vote.Code]++
		}
	}
	codes := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b))
	})
	switch len(codes) {
	case 0:
		return ""
	case 1:
		return " (" + strings.ReplaceAll(codes[0], "_", " ") + ")"
	}
	var parts []string
	for i, c := range codes {
		if i == mostGroups {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, fmt.Sprintf("%d× %s", count[c], strings.ReplaceAll(c, "_", " ")))
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// since is left out of votes that do not tell when they began, as those of one probe.
func since(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " since " + clock(at, now)
}

// clock is the time of day in UTC, with the date if that was another day.
func clock(at, now time.Time) string {
	at, now = at.UTC(), now.UTC()
	if at.YearDay() != now.YearDay() || at.Year() != now.Year() {
		return at.Format("2006-01-02 15:04 UTC")
	}
	return at.Format("15:04 UTC")
}

func others(n int) string {
	if n == 1 {
		return "1 other vantage"
	}
	return fmt.Sprintf("%d other vantages", n)
}

func (v *Verdict) all() string {
	switch n := len(v.Fine); {
	case n == 1 && len(v.Blind)+len(v.Silent) == 0:
		return "the only vantage that probes it"
	case n == 1:
		return v.Fine[0].Vantage.Name
	case len(v.Blind)+len(v.Silent) == 0:
		return fmt.Sprintf("all %d vantages", n)
	default:
		return fmt.Sprintf("%d vantages", n)
	}
}

// list joins with commas and, before the last one, "and".
func list(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}
