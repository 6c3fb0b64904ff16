package rule

import "slices"

// pointless warns of options that are read and change nothing here.
func (c *compiler) pointless(set *Set) {
	flags := []struct{ name, why string }{
		{"enable_windows", "has no effect: windows always go by the samples' own times"},
		{"no_align_flush_to_interval", "has no effect: windows go by the samples' own times, so they are always aligned to the interval"},
		{"flush_on_shutdown", "has no effect: an unfinished window is kept over a restart and published once, whole"},
	}
	for _, f := range flags {
		if c.flag(f.name, false) {
			c.warn(c.keys[f.name].key, c.at(f.name), "%s", f.why)
		}
	}
	if e, ok := c.value("ignore_first_intervals"); ok {
		const most = 1 << 30
		if n, ok := c.number(e.value, c.at("ignore_first_intervals"), 0, most); ok && n > 0 {
			c.warn(e.key, c.at("ignore_first_intervals"), "has no effect: the first windows after a restart are whole, for state is kept; those of a new series hold what was observed")
		}
	}
	if e, ok := c.value("ignore_first_sample_interval"); ok {
		if _, ok := c.duration(e.value, c.at("ignore_first_sample_interval")); ok {
			c.warn(e.key, c.at("ignore_first_sample_interval"), "has no effect: a first sample counts only where the series was born on a source that had been delivering for staleness_interval, whenever this process began; births: false turns that off")
		}
	}
	if c.flag("ignore_old_samples", false) {
		c.warn(c.keys["ignore_old_samples"].key, c.at("ignore_old_samples"), "is read as late: drop; a sample is old here when its window was published, not when its window has ended")
	}
	if c.rule.Dedup > 0 {
		c.warn(c.keys["dedup_interval"].key, c.at("dedup_interval"), "thins each series to its last sample in %s; replicas of a source need no deduplication, they are told apart by their label or their sender", short(c.rule.Dedup))
	}
	c.lostLabels(set)
}

// lostLabels warns where grouping wants labels that cannot be there.
func (c *compiler) lostLabels(set *Set) {
	e, ok := c.keys["by"]
	if !ok {
		return
	}
	for _, name := range c.rule.By {
		switch {
		case slices.Contains(set.ReplicaLabels, name):
			c.warn(e.key, c.at("by"), "the label %s tells replicas of one source apart and is part of no group; list what replicas are told by in replica_labels, without it", quote(name))
		case slices.Contains(c.rule.drop, name):
			c.warn(e.key, c.at("by"), "the label %s is in drop_input_labels, so no group has it", quote(name))
		}
	}
}
