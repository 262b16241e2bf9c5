package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
)

// forward reads URLs with the default client, whose transport takes HTTPS_PROXY and SSL_CERT_FILE from the
// environment (http.ProxyFromEnvironment), as the SDK of Terraform's azurerm provider does.
func forward(authorization string, urls []string) {
	for _, url := range urls {
		request := must(http.NewRequest(http.MethodGet, url, nil))
		request.Header.Set("Authorization", authorization)
		result := map[string]any{"url": url}
		if answer, err := http.DefaultClient.Do(request); err != nil {
			result["error"] = err.Error()
		} else {
			body := must(io.ReadAll(answer.Body))
			if err := answer.Body.Close(); err != nil {
				log.Fatal(err)
			}
			result["status"], result["cache"], result["body"] = answer.StatusCode, answer.Header.Get("Cache-Status"), string(body)
		}
		if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
			log.Fatal(err)
		}
	}
}
