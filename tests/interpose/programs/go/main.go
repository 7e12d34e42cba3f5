// The program of caller.c in Go, by package net alone: its sockets do not block, and its runtime has threads of its own.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

func answer(sock *net.UnixConn, line string, fds ...int) {
	var control []byte
	if len(fds) > 0 {
		control = syscall.UnixRights(fds...)
	}
	left := []byte(line)
	for len(left) > 0 {
		sent, _, err := sock.WriteMsgUnix(left, control, nil)
		if err != nil {
			panic(err)
		}
		left, control = left[sent:], nil
	}
}

func oneRound(sock *net.UnixConn) {
	data, control := make([]byte, 64), make([]byte, syscall.CmsgSpace(4))
	got, size, _, _, err := sock.ReadMsgUnix(data, control)
	if err != nil {
		var number syscall.Errno
		if !errors.As(err, &number) {
			panic(err)
		}
		answer(sock, fmt.Sprintf("errno %d\n", int(number)))
		return
	}
	messages, err := syscall.ParseSocketControlMessage(control[:size])
	if err != nil {
		answer(sock, fmt.Sprintf("refused: %v\n", err))
		return
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		panic(err)
	}
	var facts syscall.Stat_t
	if err := syscall.Fstat(fds[0], &facts); err != nil {
		panic(err)
	}
	answer(sock, fmt.Sprintf("%d %d %d:%d %d\n", messages[0].Header.Len, len(fds), facts.Dev, facts.Ino, got), fds[0])
	syscall.Close(fds[0])
}

func connected(path string) *net.UnixConn {
	if path == "inherited" {
		conn, err := net.FileConn(os.NewFile(3, "socket"))
		if err != nil {
			panic(err)
		}
		return conn.(*net.UnixConn)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		panic(err)
	}
	return conn
}

func main() {
	rounds, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	sock := connected(os.Args[1])
	how := ""
	if len(os.Args) > 3 {
		how = os.Args[3]
	}
	switch how {
	case "child":
		file, err := sock.File()
		if err != nil {
			panic(err)
		}
		child := exec.Command("/proc/self/exe", "inherited", os.Args[2])
		child.ExtraFiles = []*os.File{file}
		child.Stderr = os.Stderr
		if err := child.Run(); err != nil {
			panic(err)
		}
	case "thread":
		var over atomic.Bool
		var others sync.WaitGroup
		others.Add(1)
		go func() {
			defer others.Done()
			for !over.Load() {
				runtime.Gosched()
			}
		}()
		done := make(chan bool)
		go func() {
			runtime.LockOSThread()
			for i := 0; i < rounds; i++ {
				oneRound(sock)
			}
			done <- true
		}()
		<-done
		over.Store(true)
		others.Wait()
	default:
		for i := 0; i < rounds; i++ {
			oneRound(sock)
		}
	}
}
