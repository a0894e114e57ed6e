// Command idle does nothing for ever. It is what runs in the containers that the
// benchmark backs up.
package main

import "time"

func main() {
	for {
		time.Sleep(time.Hour)
	}
}
