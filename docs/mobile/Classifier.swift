// iOS. Podfile: pod 'TensorFlowLiteSwift'; the .tflite file and labels.txt in the app's bundle. Not compiled by this
// project's tests.
import CoreGraphics
import Foundation
import TensorFlowLite

final class Classifier {
    private let model: Interpreter
    private let labels: [String]

    init(file: String = "model_int8") throws {
        let path = Bundle.main.path(forResource: file, ofType: "tflite")!
        var options = Interpreter.Options()
        options.threadCount = 4
        model = try Interpreter(modelPath: path, options: options)
        try model.allocateTensors()
        let text = try String(contentsOfFile: Bundle.main.path(forResource: "labels", ofType: "txt")!, encoding: .utf8)
        labels = text.split(separator: "\n").map(String.init)
    }

    /// The most probable classes of a photo that has been cropped to a square, best first. For networks of colours.
    func classify(_ photo: CGImage, top: Int = 5) throws -> [(String, Float)] {
        let entry = try model.input(at: 0)
        let (height, width) = (entry.shape.dimensions[1], entry.shape.dimensions[2])
        var rgba = [UInt8](repeating: 0, count: width * height * 4)
        let context = CGContext(
            data: &rgba, width: width, height: height, bitsPerComponent: 8, bytesPerRow: width * 4,
            space: CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!
        context.draw(photo, in: CGRect(x: 0, y: 0, width: width, height: height))
        let rgb = rgba.enumerated().filter { $0.offset % 4 != 3 }.map { $0.element }
        let bytes = entry.dataType == .uInt8
        let pixels = bytes ? Data(rgb) : rgb.map(Float32.init).withUnsafeBufferPointer { Data(buffer: $0) }
        try model.copy(pixels, toInputAt: 0)
        try model.invoke()
        let end = try model.output(at: 0)
        let scores: [Float]
        if bytes, let scale = end.quantizationParameters {
            scores = end.data.map { Float(Int($0) - scale.zeroPoint) * scale.scale }
        } else {
            scores = end.data.withUnsafeBytes { Array($0.bindMemory(to: Float32.self)) }
        }
        return Array(zip(labels, scores).sorted { $0.1 > $1.1 }.prefix(top))
    }
}
