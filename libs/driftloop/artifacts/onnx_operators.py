"""The operators a model may use: those of models on tables, which take a bounded time and no files.

Left out are loops, random numbers, images, sound, optional values, and whatever makes a tensor of a
size that cannot be bounded by looking at the file. What a pipeline of one's own needs besides is
named in a setting.
"""

from typing import Final

_STANDARD: Final = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd
BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant
ConstantOfShape Cos Cosh CumSum DequantizeLinear Det Div Dropout Einsum Elu Equal Erf Exp Expand
EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm Greater GreaterOrEqual HardSigmoid
HardSwish Hardmax Identity If IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax LpNormalization MatMul MatMulInteger Max Mean Min Mish Mod Mul Neg NonZero Not OneHot Or
PRelu Pad Pow QLinearMatMul QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
Round Scan ScatterElements ScatterND Selu SequenceAt SequenceConstruct Shape Shrink Sigmoid Sign Sin
Sinh Size Slice Softmax Softplus Softsign Split Sqrt Squeeze StringNormalizer Sub Sum Tan Tanh
ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
_ML: Final = """
ArrayFeatureExtractor Binarizer CastMap CategoryMapper FeatureVectorizer Imputer LabelEncoder
LinearClassifier LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler
TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor ZipMap
"""
STANDARD: Final = frozenset(_STANDARD.split())
ML: Final = frozenset(f"ai.onnx.ml.{name}" for name in _ML.split())
OPERATORS: Final = STANDARD | ML
"""Names as a manifest has them: with their operator set, unless it is ONNX's own."""
