module teapot/kube-apiserver

// The versions are in the modfiles beside this one (go build -modfile=v1.37.2.mod).
go 1.26.0
