module github.com/varvefs/varve/bench/peers

go 1.26.0

require (
	github.com/hashicorp/golang-lru/arc/v2 v2.0.7
	github.com/maypok86/otter/v2 v2.4.0
	github.com/varvefs/varve v0.0.0
)

require (
	github.com/diskfs/go-diskfs v1.9.4 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/varvefs/varve => ../..
