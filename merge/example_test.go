package merge_test

import (
	"fmt"

	"github.com/varvefs/varve/merge"
)

// Two transactions decided on the same block. One set a byte and added to a counter; the other adds, too.
func ExampleResolve() {
	counter := merge.Field{Off: 0, Width: 2}
	base := make([]byte, 16)
	newest := append([]byte(nil), base...)
	for _, e := range []merge.Edit{merge.Set(8, []byte{9}), merge.Add(counter, 5, 0, 1000)} {
		if _, err := merge.Apply(newest, &e); err != nil {
			panic(err)
		}
	}
	var r merge.Result
	result := make([]byte, 16)
	err := merge.Resolve(result, base, newest, []merge.Edit{merge.Add(counter, 2, 0, 1000)}, &r)
	fmt.Println(err, r.Proof, counter.Get(result), result[8])

	err = merge.Resolve(result, base, newest, []merge.Edit{merge.Set(8, []byte{7})}, &r)
	fmt.Println(err)
	// Output:
	// <nil> counters 7 9
	// another transaction changed the bytes
}
