// Command print writes the OpenAPI document of an island's HTTP API to standard
// output, for the build of the UI.
package main

import (
	"fmt"
	"os"

	"github.com/atoll-mesh/atoll/portal/openapi"
)

func main() {
	document, err := openapi.Document()
	if err == nil {
		_, err = os.Stdout.Write(append(document, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "print the API's description:", err)
		os.Exit(1)
	}
}
