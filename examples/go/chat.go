// A chat with a key: streamed, with the receipt, and with a typed reason where it is refused.
//
//	curl -s http://127.0.0.1:50051/descriptors.pb -o descriptors.pb && GOBIN=$PWD/bin go install tool
//	PATH=$PWD/bin:$PATH protoc --descriptor_set_in=descriptors.pb --go_out=. --go_opt=module=tollgate \
//	  --go-grpc_out=. --go-grpc_opt=module=tollgate tollgate/error/v1/error_reason.proto tollgate/inference/v1/inference.proto
//	TOLLGATE_URL=http://127.0.0.1:50052 TOLLGATE_API_KEY=tg_… go run . smollm2 "Why is the sky blue?"
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	errorv1 "tollgate/error/v1"
	inferencev1 "tollgate/inference/v1"
)

func main() {
	host := strings.TrimPrefix(os.Getenv("TOLLGATE_URL"), "http://")
	connection, err := grpc.NewClient(host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	withKey := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+os.Getenv("TOLLGATE_API_KEY"))
	messages := []*inferencev1.Message{{Role: "user", Content: os.Args[2]}}
	answer, err := inferencev1.NewInferenceClient(connection).Chat(withKey, &inferencev1.ChatRequest{Model: os.Args[1], Messages: messages})
	for err == nil {
		var event *inferencev1.ChatEvent
		event, err = answer.Recv()
		fmt.Print(event.GetDelta().GetContent())
		if receipt := event.GetFinished().GetReceipt(); receipt != nil {
			fmt.Printf("\n%d charged, %d left\n", receipt.GetChargedCredits(), receipt.GetRemainingCredits())
		}
	}
	if err != io.EOF {
		log.Fatal(explained(status.Convert(err)))
	}
}

// What to do about an error, by its reason.
func explained(failure *status.Status) string {
	for _, detail := range failure.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			if errorv1.ErrorReason_value["ERROR_REASON_"+info.Reason] == int32(errorv1.ErrorReason_ERROR_REASON_INSUFFICIENT_CREDITS) {
				return "INSUFFICIENT_CREDITS: ask an operator for more"
			}
			return info.Reason + ": " + failure.Message()
		}
	}
	return failure.Code().String() + ": " + failure.Message()
}
