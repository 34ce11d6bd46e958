package main

import (
	"errors"
	"fmt"

	"github.com/varvefs/varve/ondisk"
)

// advise adds to an error what can still be done with such an image.
func advise(err error) error {
	var unsupported *ondisk.UnsupportedError
	if errors.As(err, &unsupported) || !errors.Is(err, ondisk.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w (e2fsck -fn shows what is wrong with an image and changes nothing)", err)
}
