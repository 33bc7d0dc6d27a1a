// Android. build.gradle: implementation("com.google.ai.edge.litert:litert:1.4.0"); the .tflite file and labels.txt in
// src/main/assets, and androidResources { noCompress += "tflite" }. Not compiled by this project's tests.
import android.content.Context
import android.graphics.Bitmap
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter

class Classifier(context: Context, file: String = "model_int8.tflite") {
    private val labels = context.assets.open("labels.txt").bufferedReader().readLines()
    private val model: Interpreter = context.assets.openFd(file).use { place ->
        val channel = FileInputStream(place.fileDescriptor).channel
        Interpreter(
            channel.map(FileChannel.MapMode.READ_ONLY, place.startOffset, place.declaredLength),
            Interpreter.Options().setNumThreads(4),
        )
    }

    /** The most probable classes of a photo that has been cropped to a square, best first. */
    fun classify(photo: Bitmap, top: Int = 5): List<Pair<String, Float>> {
        val entry = model.getInputTensor(0)
        val (_, height, width, channels) = entry.shape().toList()
        val bytes = entry.dataType() == DataType.UINT8
        val pixels = ByteBuffer.allocateDirect(entry.numBytes()).order(ByteOrder.nativeOrder())
        val colours = IntArray(width * height)
        Bitmap.createScaledBitmap(photo, width, height, true).getPixels(colours, 0, width, 0, 0, width, height)
        for (colour in colours) {
            val rgb = listOf(colour shr 16 and 255, colour shr 8 and 255, colour and 255)
            val grey = (0.2989f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2]).toInt()
            for (value in if (channels == 1) listOf(grey) else rgb) {
                if (bytes) pixels.put(value.toByte()) else pixels.putFloat(value.toFloat())
            }
        }
        pixels.rewind()
        val end = model.getOutputTensor(0)
        val answer = ByteBuffer.allocateDirect(end.numBytes()).order(ByteOrder.nativeOrder())
        model.run(pixels, answer)
        answer.rewind()
        val scale = end.quantizationParams()
        val scores = labels.indices.map {
            if (bytes) ((answer.get().toInt() and 255) - scale.zeroPoint) * scale.scale else answer.float
        }
        return labels.zip(scores).sortedByDescending { it.second }.take(top)
    }
}
