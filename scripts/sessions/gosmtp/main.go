// Command gosmtp sends with Go's net/smtp and prints what an application gets.
package main

import (
	"fmt"
	"net/smtp"
	"os"
)

func main() {
	err := smtp.SendMail("127.0.0.1:"+os.Args[1], nil, "app@example.com", os.Args[2:3],
		[]byte("Subject: x\r\n\r\ntext\r\n"))
	fmt.Printf("%T: %v\n", err, err)
}
