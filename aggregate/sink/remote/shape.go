package remote

import (
	"math"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/atoll-mesh/atoll/aggregate/sink/batch"
	"github.com/atoll-mesh/atoll/aggregate/sink/outlook"
)

// plain says that an entry's request can go out as it is.
func (s *Sender) plain() bool {
	c := s.o.Config
	return s.client.V2() && len(c.WriteRelabelConfigs) == 0 && c.SendNativeHistograms
}

// oldest is the time, ms, before which samples are given up.
func (s *Sender) oldest() int64 {
	limit := time.Duration(s.o.Config.QueueConfig.SampleAgeLimit)
	if limit == 0 {
		return math.MinInt64
	}
	return time.Now().Add(-limit).UnixMilli()
}

// filter keeps, in place, what the receiver is to get.
func (s *Sender) filter(all []batch.Sample) []batch.Sample {
	var tooOld, relabelled, native, custom int
	oldest, kept := s.oldest(), all[:0]
	var before, after labels.Labels
	keep, known := true, false
	for _, x := range all {
		if x.T < oldest {
			tooOld++
			continue
		}
		if x.H != nil || x.FH != nil {
			if !s.o.Config.SendNativeHistograms {
				native++
				continue
			}
			if !s.client.V2() && schema(x) == histogram.CustomBucketsSchema {
				custom++
				continue
			}
		}
		if len(s.o.Config.WriteRelabelConfigs) > 0 {
			if !known || !labels.Equal(before, x.Labels) {
				before, known = x.Labels, true
				s.builder.Reset(x.Labels)
				keep = relabel.ProcessBuilder(s.builder, s.o.Config.WriteRelabelConfigs...)
				after = s.builder.Labels()
			}
			if !keep || after.IsEmpty() {
				relabelled++
				continue
			}
			x.Labels = after
		}
		kept = append(kept, x)
	}
	s.show.Drop(tooOld, outlook.TooOld)
	s.show.Drop(relabelled, outlook.Relabelled)
	s.show.Drop(native, outlook.NativeHistogram)
	s.show.Drop(custom, outlook.CustomBuckets)
	return kept
}

func schema(x batch.Sample) int32 {
	if x.H != nil {
		return x.H.Schema
	}
	return x.FH.Schema
}

// dropOld keeps, in place, what is not too old yet.
func (s *Sender) dropOld(all []batch.Sample) []batch.Sample {
	oldest, kept := s.oldest(), all[:0]
	for _, x := range all {
		if x.T >= oldest {
			kept = append(kept, x)
		}
	}
	s.show.Drop(len(all)-len(kept), outlook.TooOld)
	return kept
}

// encode builds one request and says which is its oldest timestamp.
func (s *Sender) encode(some []batch.Sample) (body []byte, minT int64, err error) {
	minT = math.MaxInt64
	for i := range some {
		x := &some[i]
		if i == 0 || !labels.Equal(some[i-1].Labels, x.Labels) {
			s.enc.Series(x.Labels, nil)
		}
		s.enc.Sample(x.ST, x.T, x.V, x.H, x.FH)
		minT = min(minT, x.T)
	}
	body, err = s.enc.Finish()
	return body, minT, err
}
