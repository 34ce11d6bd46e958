package daemon

import (
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
)

// Quotas are the quotas of a live mount, by type.
type Quotas struct {
	Image   string
	Reports []*ext4.QuotaReport
	Failed  string // why there is nothing
}

func quotasOf(w *volume.Writable) (q Quotas) {
	err := w.ViewNamed("varve quota", func(fs *ext4.FS) (err error) {
		q.Reports, err = fs.AllQuotas()
		return err
	})
	if err != nil {
		q.Failed = err.Error()
	}
	return q
}
