package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// zeros is content that costs nothing to make.
type zeros struct{}

func (zeros) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}

// serveZeros answers a GET with as many zeros as it asks for, and says how much everything else sent.
func serveZeros() {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Printf("zeros at http://%s\n", listener.Addr())
	check(http.Serve(listener, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodGet {
			// None are named when forebay asks whether anybody is there.
			size, _ := strconv.ParseInt(request.URL.Query().Get("size"), 10, 64)
			answer.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			// Whoever asked may have left.
			_, _ = io.CopyN(answer, zeros{}, size)
			return
		}
		count, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, request.Body, make([]byte, 1<<20))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(answer, "%d", count)
	})))
}

// large moves so many bytes in each way that forebay knows, and prints how long each took.
func large(address string, size int64) {
	up := func(length int64) func() (int64, error) {
		return func() (int64, error) {
			request := must(http.NewRequest(http.MethodPost, address+"/up", io.LimitReader(zeros{}, size)))
			request.ContentLength = length
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				return 0, err
			}
			defer answer.Body.Close()
			return strconv.ParseInt(string(must(io.ReadAll(answer.Body))), 10, 64)
		}
	}
	down := func(path string) func() (int64, error) {
		return func() (int64, error) {
			answer, err := http.Get(fmt.Sprintf("%s/%s?size=%d", address, path, size))
			if err != nil {
				return 0, err
			}
			defer answer.Body.Close()
			return io.CopyBuffer(struct{ io.Writer }{io.Discard}, answer.Body, make([]byte, 1<<20))
		}
	}
	for _, way := range []struct {
		name string
		move func() (int64, error)
	}{
		{"upload", up(size)},
		{"upload in chunks", up(-1)},
		{"download", down("passed")},
		{"download of what would be kept were it smaller", down("kept")},
	} {
		began := time.Now()
		moved := must(way.move())
		if moved != size {
			fmt.Fprintf(os.Stderr, "%s: %d bytes of %d arrived\n", way.name, moved, size)
			os.Exit(1)
		}
		printLine(map[string]any{"way": way.name, "bytes": moved, "seconds": time.Since(began).Seconds()})
	}
}
