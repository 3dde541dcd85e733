package main

import (
	"context"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	v2 "k8s.io/kms/apis/v2"
)

// kms is the part of a server in which the peers differ.
type kms interface {
	keyID() string
	encrypt(ctx context.Context, plaintext []byte) (ciphertext []byte, annotations map[string][]byte, err error)
	decrypt(ctx context.Context, ciphertext []byte) (plaintext []byte, err error)
}

// service answers KMS v2 with a kms.
type service struct {
	v2.UnimplementedKeyManagementServiceServer
	kms kms
}

func (s *service) Status(context.Context, *v2.StatusRequest) (*v2.StatusResponse, error) {
	return &v2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: s.kms.keyID()}, nil
}

func (s *service) Encrypt(ctx context.Context, request *v2.EncryptRequest) (*v2.EncryptResponse, error) {
	ciphertext, annotations, err := s.kms.encrypt(ctx, request.Plaintext)
	if err != nil {
		return nil, err
	}
	return &v2.EncryptResponse{Ciphertext: ciphertext, KeyId: s.kms.keyID(), Annotations: annotations}, nil
}

func (s *service) Decrypt(ctx context.Context, request *v2.DecryptRequest) (*v2.DecryptResponse, error) {
	plaintext, err := s.kms.decrypt(ctx, request.Ciphertext)
	if err != nil {
		return nil, err
	}
	return &v2.DecryptResponse{Plaintext: plaintext}, nil
}

// serve answers calls on the socket until SIGTERM.
func serve(socket string, peer kms) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	v2.RegisterKeyManagementServiceServer(server, &service{kms: peer})
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ended
		server.Stop()
	}()
	return server.Serve(listener)
}
