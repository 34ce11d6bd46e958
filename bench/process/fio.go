package process

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// IOPS is the rate in a report of fio (--output-format=json --group_reporting), of "read" or "write". Notes of fio may
// come before the report.
func IOPS(out []byte, direction string) (float64, error) {
	at := bytes.IndexByte(out, '{')
	if at < 0 {
		return 0, fmt.Errorf("fio printed no report: %q", out)
	}
	var report struct {
		Jobs []map[string]json.RawMessage
	}
	if err := json.Unmarshal(out[at:], &report); err != nil {
		return 0, fmt.Errorf("read fio's report: %w", err)
	}
	if len(report.Jobs) != 1 {
		return 0, fmt.Errorf("fio's report has %d groups of jobs instead of one", len(report.Jobs))
	}
	var rate struct{ IOPS *float64 }
	if err := json.Unmarshal(report.Jobs[0][direction], &rate); err != nil || rate.IOPS == nil {
		return 0, fmt.Errorf("fio's report has no rate of %ss: %w", direction, err)
	}
	return *rate.IOPS, nil
}
