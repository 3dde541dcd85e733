package main

import (
	"syscall"
	"time"
)

// result is the output of a load. src/load/load.ts declares the same type.
type result struct {
	Calls   int64            `json:"calls"`
	Ok      int64            `json:"ok"`
	Wrong   int64            `json:"wrong"`
	Failed  map[string]int64 `json:"failed"`
	Seconds float64          `json:"seconds"`
	// LatencyUs is the latency of correctly answered calls, from their intended start.
	LatencyUs        percentiles `json:"latencyUs"`
	ClientCPUSeconds float64     `json:"clientCpuSeconds"`
	// TargetsDoneAtMs is the time of the last answer of each target. It is set if the number of calls is given.
	TargetsDoneAtMs []float64 `json:"targetsDoneAtMs,omitempty"`
	// Timeline is a list of times in milliseconds with the number of calls that had ended by then.
	Timeline [][2]float64 `json:"timeline"`
}

type percentiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
}

func (r *run) result() *result {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := func(percentile float64) float64 { return float64(r.latencies.ValueAtPercentile(percentile)) / 1e3 }
	all := &result{
		Calls: r.ended, Ok: r.ok, Wrong: r.wrong, Failed: r.failed,
		Seconds: r.last.Seconds(), ClientCPUSeconds: r.cpu.Seconds(),
		LatencyUs: percentiles{
			P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: at(100), Mean: r.latencies.Mean() / 1e3,
		},
	}
	if r.total > 0 {
		for _, t := range r.plan.Targets {
			all.TargetsDoneAtMs = append(all.TargetsDoneAtMs, milliseconds(t.doneAt))
		}
	}
	sum := int64(0)
	for step, ended := range r.timeline {
		sum += ended
		all.Timeline = append(all.Timeline, [2]float64{milliseconds(time.Duration(step+1) * timelineStep), float64(sum)})
	}
	return all
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cpuTime returns the CPU time that this process has used.
func cpuTime() (time.Duration, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err
}
