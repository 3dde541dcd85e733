package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	v1 "k8s.io/kms/apis/v1beta1"
	v2 "k8s.io/kms/apis/v2"
)

// kind is one kind of flood.
type kind struct {
	// connections is how many are open at a time; default 1.
	connections int
	settings    []http2.Setting
	// fields are the request's fields that differ from those of a Status.
	fields map[string]string
	// send writes the frames of one stream.
	send func(out *sender, id uint32, m messages)
	// prefaceBytes is how much of the preface is sent, if not all, and then nothing.
	prefaceBytes int
	// hangsUp closes each connection after its first stream.
	hangsUp bool
}

const (
	servicePath = "/v2.KeyManagementService/"
	decryptPath = servicePath + "Decrypt"
	// chunk is the largest DATA frame.
	chunk = maxFrameSize
	// manyFrames is how many large DATA frames carry empty messages in one call.
	manyFrames = 16
	// announced is the length of a message that does not come whole: the plugin's limit.
	announced = 128 * 1024
	// bigPlaintext makes answers of about 16 kB.
	bigPlaintext = 16_000
	trailerCount = 10
	lateFrames   = 100
)

func path(of string) map[string]string { return map[string]string{":path": of} }

var floods = map[string]kind{
	"status":  {send: whole(aStatus)},
	"decrypt": {fields: path(decryptPath), send: whole(aDecrypt), connections: 10},
	// Close to the limit of connections, as in the last kind.
	"decrypt-100": {fields: path(decryptPath), send: whole(aDecrypt), connections: 100},
	"decrypt-reset": {fields: path(decryptPath), send: func(out *sender, id uint32, m messages) {
		whole(aDecrypt)(out, id, m)
		_ = out.WriteRSTStream(id, http2.ErrCodeCancel)
	}},
	"trailers": {send: func(out *sender, id uint32, m messages) {
		out.headers(id, false)
		_ = out.WriteData(id, false, m[aStatus])
		_ = out.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: out.blocks.trailers(), EndHeaders: true, EndStream: true,
		})
	}},
	"head":           {fields: map[string]string{":method": "HEAD"}, send: headersOnly},
	"describe":       {fields: path("/teapotkms.v1.Inspection/Describe"), send: whole(aStatus)},
	"unknown-method": {fields: path(servicePath + "Other"), send: whole(aStatus)},
	// Each byte of the request is a DATA frame.
	"tiny-data": {fields: path(decryptPath), send: func(out *sender, id uint32, m messages) {
		out.headers(id, false)
		for i := range m[aDecrypt] {
			_ = out.WriteData(id, i == len(m[aDecrypt])-1, m[aDecrypt][i:i+1])
		}
	}},
	"rapid-reset": {send: func(out *sender, id uint32, _ messages) {
		out.headers(id, false)
		_ = out.WriteRSTStream(id, http2.ErrCodeCancel)
	}},
	"content-type": {fields: map[string]string{"content-type": "application/json"}, send: whole(aStatus)},
	"timeout-1n": {
		fields: map[string]string{":path": decryptPath, "grpc-timeout": "1n"}, send: whole(aDecrypt),
	},
	"empty-messages": {connections: 18, send: func(out *sender, id uint32, m messages) {
		out.headers(id, false)
		for range manyFrames {
			_ = out.WriteData(id, false, m[manyEmpty])
		}
	}},
	"window-0": {
		connections: 3, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}},
		fields: path("/v1beta1.KeyManagementService/Encrypt"), send: whole(aV1Encrypt),
	},
	"unfinished": {connections: 3, send: func(out *sender, id uint32, m messages) {
		out.headers(id, false)
		_ = out.WriteData(id, false, m[anUnfinished])
	}},
	"compressed": {fields: map[string]string{"grpc-encoding": "gzip"}, send: whole(aCompressed)},
	"left-open": {hangsUp: true, send: func(out *sender, id uint32, m messages) {
		out.headers(id, false)
		_ = out.WriteGoAway(0, http2.ErrCodeNo, nil)
		_ = out.WriteData(id+98, true, m[aStatus])
	}},
	"half-prefaces": {connections: 128, prefaceBytes: len(http2.ClientPreface) / 2},
	// As fast as connections can be opened.
	"connections": {hangsUp: true, send: whole(aStatus)},
	"late-data":   {fields: path(servicePath + "Other"), send: lateData, connections: 100},
}

// message names the messages of floods, with their gRPC prefix.
type message int

const (
	aStatus message = iota
	aDecrypt
	aV1Encrypt
	aCompressed
	manyEmpty
	anUnfinished
)

type messages [anUnfinished + 1][]byte

// newMessages makes the messages, with a ciphertext that the server itself has made.
func newMessages(socket string) (m messages, err error) {
	connection, err := connectTo(socket)
	if err != nil {
		return m, err
	}
	defer connection.Close()
	request, err := sealedRequest(v2.NewKeyManagementServiceClient(connection), bytes.Repeat([]byte{9}, 32))
	if err != nil {
		return m, err
	}
	// KMS v1 must be served, or its flood would be one of unknown methods.
	ctx, cancel := context.WithTimeout(context.Background(), setUpTimeout)
	defer cancel()
	big := &v1.EncryptRequest{Version: "v1beta1", Plain: bytes.Repeat([]byte{9}, bigPlaintext)}
	if _, err := v1.NewKeyManagementServiceClient(connection).Encrypt(ctx, big); err != nil {
		return m, fmt.Errorf("KMS v1: %w", err)
	}
	for at, of := range map[message]proto.Message{aStatus: &v2.StatusRequest{}, aDecrypt: request, aV1Encrypt: big} {
		encoded, err := proto.Marshal(of)
		if err != nil {
			return m, err
		}
		m[at] = framed(encoded)
	}
	m[aCompressed] = []byte{1, 0, 0, 0, 0}
	m[manyEmpty] = make([]byte, chunk/grpcPrefix*grpcPrefix)
	m[anUnfinished] = make([]byte, chunk)
	binary.BigEndian.PutUint32(m[anUnfinished][1:], announced)
	return m, nil
}

// whole sends a call with one message.
func whole(of message) func(*sender, uint32, messages) {
	return func(out *sender, id uint32, m messages) {
		out.headers(id, false)
		_ = out.WriteData(id, true, m[of])
	}
}

// lateData sends DATA of a call that was answered early, in frames that are as small as can be.
func lateData(out *sender, id uint32, _ messages) {
	if id == 1 {
		out.headers(id, false)
	}
	for range lateFrames {
		_ = out.WriteData(1, false, []byte{0})
	}
}

func headersOnly(out *sender, id uint32, _ messages) { out.headers(id, true) }

// sender collects frames in a buffer.
type sender struct {
	*http2.Framer
	buffer bytes.Buffer
	blocks *blocks
}

func newSender(fields map[string]string) *sender {
	out := &sender{blocks: newBlocks(fields)}
	out.Framer = http2.NewFramer(&out.buffer, nil)
	out.AllowIllegalWrites = true
	return out
}

func (s *sender) headers(id uint32, endStream bool) {
	_ = s.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: s.blocks.request(), EndHeaders: true, EndStream: endStream,
	})
}

// blocks writes the header blocks of a connection. The fields are in the server's table after the first block.
type blocks struct {
	encoder *hpack.Encoder
	buffer  bytes.Buffer
	fields  []hpack.HeaderField
	extra   []hpack.HeaderField
}

func newBlocks(changes map[string]string) *blocks {
	b := &blocks{}
	b.encoder = hpack.NewEncoder(&b.buffer)
	for _, field := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", servicePath + "Status"}, {":authority", "localhost"},
		{"content-type", "application/grpc"}, {"user-agent", "grpc-go/1.82.1"}, {"te", "trailers"},
		{"grpc-encoding", ""}, {"grpc-timeout", ""},
	} {
		name, value := field[0], field[1]
		if change, ok := changes[name]; ok {
			value = change
		}
		if value != "" {
			b.fields = append(b.fields, hpack.HeaderField{Name: name, Value: value})
		}
	}
	for i := range trailerCount {
		b.extra = append(b.extra, hpack.HeaderField{Name: fmt.Sprintf("x-trailer-%d", i), Value: "value"})
	}
	return b
}

func (b *blocks) request() []byte  { return b.encode(b.fields) }
func (b *blocks) trailers() []byte { return b.encode(b.extra) }

// encode returns a block that is valid until the next one.
func (b *blocks) encode(fields []hpack.HeaderField) []byte {
	b.buffer.Reset()
	for _, field := range fields {
		_ = b.encoder.WriteField(field)
	}
	return b.buffer.Bytes()
}
