package volume

import (
	"errors"
	"fmt"

	"github.com/varvefs/varve/ondisk"
)

// Advise adds to the error of a damaged image which program shows the damage.
func Advise(err error) error {
	var unsupported *ondisk.UnsupportedError
	if errors.As(err, &unsupported) || !errors.Is(err, ondisk.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w (e2fsck -fn shows what is wrong with an image and changes nothing)", err)
}
