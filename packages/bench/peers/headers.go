package main

import (
	"golang.org/x/net/http2/hpack"
)

// headers writes the header blocks of a connection as grpc-go does for kube-apiserver. All fields but grpc-timeout are the same
// each time. Each grpc-timeout differs, so it is added to the server's dynamic table. When the table is almost full, the other
// fields are sent in full again. A block takes some tens of nanoseconds; an HPACK encoder takes a microsecond.
type headers struct {
	full []byte
	// age is how many timeouts were added to the table after the other fields.
	age   int
	calls int
	block []byte
}

const (
	// firstDynamic is the index of the newest entry of the dynamic table.
	firstDynamic = 62
	literals     = 5
	// renewal keeps the indices below 127, where they take one byte, and the table below its 4,096 bytes.
	renewal     = 127 - firstDynamic - literals
	methodPost  = 0x80 | 3
	schemeHTTP  = 0x80 | 6
	incremental = 0x40
	timeoutName = "grpc-timeout"
)

// timeouts are remaining times of a 3 s deadline in microseconds, as Huffman-coded strings with their length.
var timeouts = func() (coded [1_000][]byte) {
	for i := range coded {
		coded[i] = huffman([]byte("2999" + string([]byte{byte('0' + i/100), byte('0' + i/10%10), byte('0' + i%10)}) + "u"))
	}
	return coded
}()

func newHeaders(method string) *headers {
	full := []byte{methodPost, schemeHTTP}
	for _, field := range [literals][2]string{
		{":path", method}, {":authority", "localhost"}, {"content-type", "application/grpc"},
		{"user-agent", "grpc-go/1.82.1"}, {"te", "trailers"},
	} {
		full = append(full, incremental)
		full = append(append(full, huffman([]byte(field[0]))...), huffman([]byte(field[1]))...)
	}
	return &headers{full: full, age: renewal}
}

// next returns the next header block. It is valid until the next call.
func (h *headers) next() []byte {
	if h.age == renewal {
		h.block = append(h.block[:0], h.full...)
		h.block = append(append(h.block, incremental), huffman([]byte(timeoutName))...)
		h.age = 0
	} else {
		h.block = append(h.block[:0], methodPost, schemeHTTP)
		for i := range literals {
			h.block = append(h.block, byte(0x80|(firstDynamic+h.age+literals-1-i)))
		}
		h.block = append(h.block, incremental|firstDynamic)
	}
	h.block = append(h.block, timeouts[h.calls%len(timeouts)]...)
	h.age++
	h.calls++
	return h.block
}

// huffman encodes a string as HPACK does. The result must be shorter than 127 bytes.
func huffman(text []byte) []byte {
	coded := hpack.AppendHuffmanString([]byte{0}, string(text))
	coded[0] = 0x80 | byte(len(coded)-1)
	return coded
}
