package main

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Channels of the remote command protocol over WebSocket: the first byte of each message.
const (
	stdinChannel  = 0
	stdoutChannel = 1
	stderrChannel = 2
	errorChannel  = 3
	closeChannel  = 255
)

const (
	finalBinary   = 0x82
	opcodeClose   = 8
	maskedBit     = 0x80
	frameMaxBytes = 1 << 20
)

// clientFrame is a masked binary frame (RFC 6455, section 5.2) of less than 126 bytes; the mask is all zeros.
func clientFrame(payload []byte) []byte {
	return append([]byte{finalBinary, maskedBit | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// readFrame reads one frame of a server, which sends them without a mask.
func readFrame(reader io.Reader) (opcode byte, payload []byte, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(reader, head); err != nil {
		return 0, nil, err
	}
	length := uint64(head[1] & 0x7f)
	if length >= 126 {
		extended := make([]byte, 8)
		size := 8
		if length == 126 {
			size = 2
		}
		if _, err := io.ReadFull(reader, extended[8-size:]); err != nil {
			return 0, nil, err
		}
		length = binary.BigEndian.Uint64(extended)
	}
	if length > frameMaxBytes {
		return 0, nil, fmt.Errorf("a frame of %d bytes", length)
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(reader, payload)
	return head[0] & 0x0f, payload, err
}
